//! Guests in WAT that ask the host for something, and say in a number or a list what they got.

use super::guest::REALLOC;

/// A function of the host that a guest calls: its name in the guest, the instance and the name of the import, and its
/// core type.
pub type Asked<'a> = (&'a str, &'a str, &'a str, &'a str);

/// A component whose `f` calls these. `imports` stand before it; results of the host are put at 16 and behind it.
pub fn component(imports: &str, asked: &[Asked<'_>], signature: &str, core: &str) -> String {
    let options = r#"(memory $libc "memory") (realloc (func $libc "realloc"))"#;
    let (mut lowered, mut taken, mut given) = (String::new(), String::new(), String::new());
    for (name, instance, function, ty) in asked {
        lowered += &format!("(core func ${name} (canon lower (func ${instance} \"{function}\") {options}))\n  ");
        taken += &format!("(import \"host\" \"{name}\" (func ${name} {ty}))\n    ");
        given += &format!("(export \"{name}\" (func ${name})) ");
    }
    format!(
        r#"(component
  {imports}
  (core module $memory
    (memory (export "memory") 1)
    {REALLOC})
  (core instance $libc (instantiate $memory))
  {lowered}
  (core module $m
    (import "libc" "memory" (memory 1))
    {taken}
    {core})
  (core instance $i (instantiate $m (with "libc" (instance $libc)) (with "host" (instance {given}))))
  (func $f {signature} (canon lift (core func $i "f") {options}))
  (export "f" (func $f)))"#
    )
}

/// The pollable of `wasi:io`.
pub const POLL: &str = r#"
  (import "wasi:io/poll@0.2.6" (instance $poll
    (export "pollable" (type $pollable (sub resource)))
    (export "[method]pollable.block" (func (param "self" (borrow $pollable))))))
  (alias export $poll "pollable" (type $pollable))"#;

/// Standard input, to be read.
pub const STDIN: &str = r#"
  (import "wasi:io/error@0.2.6" (instance $errors (export "error" (type (sub resource)))))
  (alias export $errors "error" (type $error))
  (import "wasi:io/streams@0.2.6" (instance $streams
    (export "input-stream" (type $input (sub resource)))
    (export "error" (type $error' (eq $error)))
    (type $failure (variant (case "last-operation-failed" (own $error')) (case "closed")))
    (export "stream-error" (type $failure' (eq $failure)))
    (export "[method]input-stream.blocking-read"
      (func (param "self" (borrow $input)) (param "len" u64) (result (result (list u8) (error $failure')))))))
  (alias export $streams "input-stream" (type $input))
  (import "wasi:cli/stdin@0.2.6" (instance $stdin
    (export "input-stream" (type $input' (eq $input)))
    (export "get-stdin" (func (result (own $input'))))))"#;

/// Open directories.
pub const PREOPENS: &str = r#"
  (import "wasi:filesystem/types@0.2.6" (instance $files (export "descriptor" (type (sub resource)))))
  (alias export $files "descriptor" (type $descriptor))
  (import "wasi:filesystem/preopens@0.2.6" (instance $preopens
    (export "descriptor" (type $descriptor' (eq $descriptor)))
    (export "get-directories" (func (result (list (tuple (own $descriptor') string)))))))"#;

/// All of `wasi:sockets` that opens a door: TCP, UDP, and the lookup of names.
pub const SOCKETS: &str = r#"
  (import "wasi:sockets/network@0.2.6" (instance $network
    (export "network" (type (sub resource)))
    (type $code (enum "unknown" "access-denied" "not-supported" "invalid-argument" "out-of-memory" "timeout"
      "concurrency-conflict" "not-in-progress" "would-block" "invalid-state" "new-socket-limit"
      "address-not-bindable" "address-in-use" "remote-unreachable" "connection-refused" "connection-reset"
      "connection-aborted" "datagram-too-large" "name-unresolvable" "temporary-resolver-failure"
      "permanent-resolver-failure"))
    (export "error-code" (type (eq $code)))
    (type $family (enum "ipv4" "ipv6"))
    (export "ip-address-family" (type (eq $family)))
    (type $v4 (record (field "port" u16) (field "address" (tuple u8 u8 u8 u8))))
    (export "ipv4-socket-address" (type $v4' (eq $v4)))
    (type $v6 (record (field "port" u16) (field "flow-info" u32)
      (field "address" (tuple u16 u16 u16 u16 u16 u16 u16 u16)) (field "scope-id" u32)))
    (export "ipv6-socket-address" (type $v6' (eq $v6)))
    (type $address (variant (case "ipv4" $v4') (case "ipv6" $v6')))
    (export "ip-socket-address" (type (eq $address)))))
  (alias export $network "network" (type $net))
  (alias export $network "error-code" (type $code))
  (alias export $network "ip-address-family" (type $family))
  (alias export $network "ip-socket-address" (type $address))
  (import "wasi:sockets/instance-network@0.2.6" (instance $default
    (export "network" (type $net' (eq $net)))
    (export "instance-network" (func (result (own $net'))))))
  (import "wasi:sockets/tcp@0.2.6" (instance $tcp
    (export "network" (type $net' (eq $net)))
    (export "error-code" (type $code' (eq $code)))
    (export "ip-socket-address" (type $address' (eq $address)))
    (export "tcp-socket" (type $socket (sub resource)))
    (export "[method]tcp-socket.start-connect" (func (param "self" (borrow $socket))
      (param "network" (borrow $net')) (param "remote-address" $address') (result (result (error $code')))))
    (export "[method]tcp-socket.start-bind" (func (param "self" (borrow $socket))
      (param "network" (borrow $net')) (param "local-address" $address') (result (result (error $code')))))))
  (alias export $tcp "tcp-socket" (type $tcp-socket))
  (import "wasi:sockets/tcp-create-socket@0.2.6" (instance $tcp-new
    (export "error-code" (type $code' (eq $code)))
    (export "ip-address-family" (type $family' (eq $family)))
    (export "tcp-socket" (type $socket (eq $tcp-socket)))
    (export "create-tcp-socket"
      (func (param "address-family" $family') (result (result (own $socket) (error $code')))))))
  (import "wasi:sockets/udp@0.2.6" (instance $udp
    (export "network" (type $net' (eq $net)))
    (export "error-code" (type $code' (eq $code)))
    (export "ip-socket-address" (type $address' (eq $address)))
    (export "udp-socket" (type $socket (sub resource)))
    (export "[method]udp-socket.start-bind" (func (param "self" (borrow $socket))
      (param "network" (borrow $net')) (param "local-address" $address') (result (result (error $code')))))))
  (alias export $udp "udp-socket" (type $udp-socket))
  (import "wasi:sockets/udp-create-socket@0.2.6" (instance $udp-new
    (export "error-code" (type $code' (eq $code)))
    (export "ip-address-family" (type $family' (eq $family)))
    (export "udp-socket" (type $socket (eq $udp-socket)))
    (export "create-udp-socket"
      (func (param "address-family" $family') (result (result (own $socket) (error $code')))))))
  (import "wasi:sockets/ip-name-lookup@0.2.6" (instance $lookup
    (export "network" (type $net' (eq $net)))
    (export "error-code" (type $code' (eq $code)))
    (export "resolve-address-stream" (type $stream (sub resource)))
    (export "resolve-addresses" (func (param "network" (borrow $net')) (param "name" string)
      (result (result (own $stream) (error $code')))))))"#;

/// A request over HTTP; behind [`POLL`].
pub const HTTP: &str = r#"
  (import "wasi:http/types@0.2.6" (instance $http
    (export "fields" (type $fields (sub resource)))
    (export "outgoing-request" (type $request (sub resource)))
    (export "request-options" (type (sub resource)))
    (export "incoming-response" (type $response (sub resource)))
    (export "future-incoming-response" (type $future (sub resource)))
    (export "pollable" (type $pollable' (eq $pollable)))
    (type $dns (record (field "rcode" (option string)) (field "info-code" (option u16))))
    (export "DNS-error-payload" (type $dns' (eq $dns)))
    (type $alert (record (field "alert-id" (option u8)) (field "alert-message" (option string))))
    (export "TLS-alert-received-payload" (type $alert' (eq $alert)))
    (type $size (record (field "field-name" (option string)) (field "field-size" (option u32))))
    (export "field-size-payload" (type $size' (eq $size)))
    (type $code (variant (case "DNS-timeout") (case "DNS-error" $dns') (case "destination-not-found")
      (case "destination-unavailable") (case "destination-IP-prohibited") (case "destination-IP-unroutable")
      (case "connection-refused") (case "connection-terminated") (case "connection-timeout")
      (case "connection-read-timeout") (case "connection-write-timeout") (case "connection-limit-reached")
      (case "TLS-protocol-error") (case "TLS-certificate-error") (case "TLS-alert-received" $alert')
      (case "HTTP-request-denied") (case "HTTP-request-length-required") (case "HTTP-request-body-size" (option u64))
      (case "HTTP-request-method-invalid") (case "HTTP-request-URI-invalid") (case "HTTP-request-URI-too-long")
      (case "HTTP-request-header-section-size" (option u32)) (case "HTTP-request-header-size" (option $size'))
      (case "HTTP-request-trailer-section-size" (option u32)) (case "HTTP-request-trailer-size" $size')
      (case "HTTP-response-incomplete") (case "HTTP-response-header-section-size" (option u32))
      (case "HTTP-response-header-size" $size') (case "HTTP-response-body-size" (option u64))
      (case "HTTP-response-trailer-section-size" (option u32)) (case "HTTP-response-trailer-size" $size')
      (case "HTTP-response-transfer-coding" (option string)) (case "HTTP-response-content-coding" (option string))
      (case "HTTP-response-timeout") (case "HTTP-upgrade-failed") (case "HTTP-protocol-error") (case "loop-detected")
      (case "configuration-error") (case "internal-error" (option string))))
    (export "error-code" (type $code' (eq $code)))
    (type $scheme (variant (case "HTTP") (case "HTTPS") (case "other" string)))
    (export "scheme" (type $scheme' (eq $scheme)))
    (export "[constructor]fields" (func (result (own $fields))))
    (export "[constructor]outgoing-request" (func (param "headers" (own $fields)) (result (own $request))))
    (export "[method]outgoing-request.set-scheme"
      (func (param "self" (borrow $request)) (param "scheme" (option $scheme')) (result (result))))
    (export "[method]outgoing-request.set-path-with-query"
      (func (param "self" (borrow $request)) (param "path-with-query" (option string)) (result (result))))
    (export "[method]outgoing-request.set-authority"
      (func (param "self" (borrow $request)) (param "authority" (option string)) (result (result))))
    (export "[method]future-incoming-response.subscribe"
      (func (param "self" (borrow $future)) (result (own $pollable'))))
    (export "[method]future-incoming-response.get" (func (param "self" (borrow $future))
      (result (option (result (result (own $response) (error $code')))))))))
  (alias export $http "outgoing-request" (type $request))
  (alias export $http "request-options" (type $options))
  (alias export $http "future-incoming-response" (type $future))
  (alias export $http "error-code" (type $http-code))
  (import "wasi:http/outgoing-handler@0.2.6" (instance $handler
    (export "outgoing-request" (type $request' (eq $request)))
    (export "request-options" (type $options' (eq $options)))
    (export "future-incoming-response" (type $future' (eq $future)))
    (export "error-code" (type $code' (eq $http-code)))
    (export "handle" (func (param "request" (own $request')) (param "options" (option (own $options')))
      (result (result (own $future') (error $code')))))))"#;
