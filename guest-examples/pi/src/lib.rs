//! Pi by the Leibniz series: a tool that takes its time and says how far it is.
//!
//! Two neighbouring partial sums of the series lie on both sides of pi, so the digits on which they agree are digits of
//! pi. The work goes on until they agree on enough of them; how many do already is the progress to report.

wit_bindgen::generate!({ path: ["../../wit", "wit"], world: "example:pi/pi", generate_all });
toolpost_guest::embed_wit!("wit/world.wit");

use exports::example::pi::series::{Failure, Guest};
use toolpost::tool::{
    log::{self, Level},
    progress,
};

/// A ninth digit would take minutes.
const PRECISION_MAX: u32 = 8;

/// A report at least this often, in pairs of terms: some milliseconds of work.
const PAIRS_BETWEEN_REPORTS_MAX: u64 = 1_000_000;

struct Pi;

impl Guest for Pi {
    fn leibniz(precision: u32) -> Result<String, Failure> {
        if precision > PRECISION_MAX {
            return Err(Failure::InvalidArguments(format!(
                "`precision` is {precision}; at most {PRECISION_MAX} digits are computed"
            )));
        }
        let mut sums = Sums::default();
        loop {
            // As many terms again as there are: small precisions stay quick, and large ones report often.
            sums.add(sums.pairs.clamp(8, PAIRS_BETWEEN_REPORTS_MAX));
            let agreed = (0..=precision).rev().find_map(|precision| Some((precision, sums.agreed(precision)?)));
            let Some((digits, text)) = agreed else { continue };
            let terms = 2 * sums.pairs;
            progress::report(digits.into(), Some(precision.into()), Some(&format!("{text} after {terms} terms")));
            if digits == precision {
                log::log(Level::Info, &format!("{precision} digits of pi took {terms} terms"));
                return Ok(text);
            }
        }
    }
}

/// The sum of the first terms, an even number of them, so that it is below pi.
#[derive(Default)]
struct Sums {
    below: f64,
    pairs: u64,
}

impl Sums {
    fn add(&mut self, pairs: u64) {
        // Small terms are added to each other first. Added one by one to a sum near 3, each would lose its last digits.
        let mut more = 0.0;
        for pair in self.pairs..self.pairs + pairs {
            let odd = (4 * pair + 1) as f64;
            // 4/odd - 4/(odd + 2), with one division.
            more += 8.0 / (odd * (odd + 2.0));
        }
        self.below += more;
        self.pairs += pairs;
    }

    /// Pi cut to `precision` digits, when this sum and the next (which is above pi) agree on them.
    fn agreed(&self, precision: u32) -> Option<String> {
        let scale = 10_u64.pow(precision);
        let above = self.below + 4.0 / (4 * self.pairs + 1) as f64;
        let cut = |sum: f64| (sum * scale as f64) as u64;
        let digits = cut(self.below);
        (digits == cut(above)).then(|| match precision {
            0 => digits.to_string(),
            _ => format!("{}.{:0width$}", digits / scale, digits % scale, width = precision as usize),
        })
    }
}

export!(Pi);
