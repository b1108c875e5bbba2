//! The front end's functions against PyTorch, and their gradients against finite differences.

use std::error::Error;

use libtest_mimic::Arguments;

mod calls;
mod compare;
mod derivatives;
mod named;

fn main() -> Result<(), Box<dyn Error>> {
    let mut trials = named::trials()?;
    trials.extend(calls::trials()?);
    trials.extend(derivatives::trials());
    libtest_mimic::run(&Arguments::from_args(), trials).exit()
}
