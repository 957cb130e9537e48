//! Talks over TCP, with nothing but the standard library: what a tool may reach, its host decides.

wit_bindgen::generate!({ path: "wit", world: "tools" });
toolpost_guest::embed_wit!("wit/world.wit");

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream, ToSocketAddrs, UdpSocket};

use exports::example::line::line::Guest;

struct Line;

impl Guest for Line {
    fn exchange(host: String, port: u16, text: String) -> Result<String, String> {
        let mut stream = TcpStream::connect((host.as_str(), port)).map_err(words)?;
        ask(&mut stream, &text)
    }

    fn converse(host: String, port: u16, texts: Vec<String>) -> Result<Vec<String>, String> {
        let mut stream = TcpStream::connect((host.as_str(), port)).map_err(words)?;
        texts.iter().map(|text| ask(&mut stream, text)).collect()
    }

    fn lookup(host: String) -> Result<Vec<String>, String> {
        let found = (host.as_str(), 0).to_socket_addrs().map_err(words)?;
        Ok(found.map(|address| address.ip().to_string()).collect())
    }

    fn several(host: String, port: u16, count: u32) -> Vec<Result<String, String>> {
        let streams: Vec<_> = (0..count).map(|_| TcpStream::connect((host.as_str(), port))).collect();
        let ask = |stream: std::io::Result<TcpStream>| ask(&mut stream.map_err(words)?, "hello");
        streams.into_iter().map(ask).collect()
    }

    fn pour(host: String, port: u16, length: u64) -> Result<u64, String> {
        let mut stream = TcpStream::connect((host.as_str(), port)).map_err(words)?;
        let sent = std::io::copy(&mut std::io::repeat(0).take(length), &mut stream).map_err(words)?;
        stream.shutdown(Shutdown::Write).map_err(words)?;
        Ok(sent)
    }

    fn drain(host: String, port: u16) -> Result<u64, String> {
        let mut stream = TcpStream::connect((host.as_str(), port)).map_err(words)?;
        std::io::copy(&mut stream, &mut std::io::sink()).map_err(words)
    }

    fn leave(host: String, port: u16, text: String) -> Result<(), String> {
        let mut stream = TcpStream::connect((host.as_str(), port)).map_err(words)?;
        stream.write_all(format!("{text}\n").as_bytes()).map_err(words)?;
        std::mem::forget(stream);
        Ok(())
    }

    fn listen(port: u16) -> Result<String, String> {
        let listener = TcpListener::bind(("127.0.0.1", port)).map_err(words)?;
        let (_, from) = listener.accept().map_err(words)?;
        Ok(from.to_string())
    }

    fn datagram(host: String, port: u16, text: String) -> Result<(), String> {
        let socket = UdpSocket::bind(("0.0.0.0", 0)).map_err(words)?;
        socket.send_to(text.as_bytes(), (host.as_str(), port)).map_err(words)?;
        Ok(())
    }
}

fn ask(stream: &mut TcpStream, text: &str) -> Result<String, String> {
    stream.write_all(format!("{text}\n").as_bytes()).map_err(words)?;
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer).map_err(words)?;
    match answer.strip_suffix('\n') {
        Some(line) => Ok(line.to_owned()),
        None => Err("the other side hung up".into()),
    }
}

fn words(error: std::io::Error) -> String {
    error.kind().to_string()
}

export!(Line);
