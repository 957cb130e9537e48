//! Division, and two ways to say that it failed: in words, and as a type.

wit_bindgen::generate!({ path: "wit", world: "divide" });
toolpost_guest::embed_wit!("wit/world.wit");

struct Divide;

impl Guest for Divide {
    fn divide(dividend: f64, divisor: f64) -> Result<f64, String> {
        if divisor == 0.0 {
            return Err(format!("cannot divide {dividend} by zero"));
        }
        Ok(dividend / divisor)
    }

    fn divide_integers(dividend: i64, divisor: i64) -> Result<Quotient, DivisionError> {
        if divisor == 0 {
            return Err(DivisionError::ByZero);
        }
        let quotient = dividend.checked_div(divisor).ok_or(DivisionError::Overflow(dividend))?;
        Ok(Quotient { quotient, remainder: dividend - quotient * divisor })
    }
}

export!(Divide);
