//! The weather in a city, from a service that wants a key. The tool has none: the host puts it into the request.

use json_service::{Method, Service, escaped};
use serde_json::Value;

wit_bindgen::generate!({ path: ["../../wit", "wit"], world: "example:weather/weather", generate_all });
toolpost_guest::embed_wit!("wit/world.wit");
json_service::faults!(crate::toolpost::tool::types);

const SERVICE: &str = "https://api.openweathermap.org";

struct Weather;

impl Guest for Weather {
    fn current(city: String, service: Option<String>) -> Result<Report, Failure> {
        if city.trim().is_empty() {
            return Err(Failure::InvalidArguments("`city` is empty".into()));
        }
        let service = Service { name: "the weather service", url: service.as_deref().unwrap_or(SERVICE) };
        let path = format!("/data/2.5/weather?units=metric&q={}", escaped(&city));
        let answer = service.ask(&Method::Get, &path, None)?;
        read(&answer).ok_or_else(|| Failure::Failed("the weather service answered without the weather".into()))
    }
}

fn read(answer: &Value) -> Option<Report> {
    Some(Report {
        place: answer.get("name")?.as_str()?.to_owned(),
        sky: answer.pointer("/weather/0/description")?.as_str()?.to_owned(),
        celsius: answer.pointer("/main/temp")?.as_f64()?,
        wind: answer.pointer("/wind/speed")?.as_f64()?,
    })
}

export!(Weather);
