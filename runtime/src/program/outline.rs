//! Steps, places and addresses as text, for people.

use std::fmt;
use std::ops::Range;

use super::{Address, Case, Guard, Place, Step};

/// A line of an outline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Line {
    /// A launch, by its number.
    Launch(usize),
    /// What the deeper lines that follow are: `64 times`, `if input 0`, `else`, `while arena 64`.
    Heading(String),
}

/// The steps of a validated program line by line, each with its depth.
///
/// ```text
/// launch 0
/// 64 times
///   launch 1
///   if arena 128
///     launch 2
///   else
///     launch 3
/// repeat
///   launch 4
/// while arena 64
///   launch 5
/// ```
pub fn outline(steps: &[Step]) -> Vec<(usize, Line)> {
    let mut lines = Vec::new();
    block(steps, 0..steps.len(), 0, &mut lines);
    lines
}

fn block(steps: &[Step], positions: Range<usize>, depth: usize, lines: &mut Vec<(usize, Line)>) {
    let part = |heading: String, positions: Range<usize>, lines: &mut Vec<(usize, Line)>| {
        if !positions.is_empty() {
            lines.push((depth, Line::Heading(heading)));
            block(steps, positions, depth + 1, lines);
        }
    };
    let mut at = positions.start;
    while at < positions.end {
        let (inner, end) = (at + 1, at + 1 + steps[at].n_inner());
        match steps[at] {
            Step::Launch(launch) => lines.push((depth, Line::Launch(launch as usize))),
            Step::Loop { trips, .. } => part(format!("{trips} times"), inner..end, lines),
            Step::Branch { ref condition, on_true, .. } => {
                let middle = inner + on_true as usize;
                part(format!("if {condition}"), inner..middle, lines);
                let heading = if on_true == 0 { format!("if not {condition}") } else { "else".to_owned() };
                part(heading, middle..end, lines);
            }
            Step::While { ref condition, head, .. } => {
                let middle = inner + head as usize;
                part("repeat".to_owned(), inner..middle, lines);
                part(format!("while {condition}"), middle..end, lines);
            }
        }
        at = end;
    }
}

/// For each launch of a validated program, how often a run repeats it; `None` where that depends on data.
pub fn repeats(steps: &[Step]) -> Vec<Option<u64>> {
    fn block(steps: &[Step], positions: Range<usize>, times: Option<u64>, repeats: &mut Vec<Option<u64>>) {
        let mut at = positions.start;
        while at < positions.end {
            let (inner, end) = (at + 1, at + 1 + steps[at].n_inner());
            match steps[at] {
                Step::Launch(_) => repeats.push(times),
                Step::Loop { trips, .. } => {
                    block(steps, inner..end, times.map(|times| times.saturating_mul(trips)), repeats);
                }
                Step::Branch { .. } | Step::While { .. } => block(steps, inner..end, None, repeats),
            }
            at = end;
        }
    }
    let mut repeats_of = Vec::new();
    block(steps, 0..steps.len(), Some(1), &mut repeats_of);
    repeats_of
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Input(idx) => write!(f, "input {idx}"),
            Self::Output(idx) => write!(f, "output {idx}"),
            Self::Constant(idx) => write!(f, "constant {idx}"),
            Self::Arena(offset) => write!(f, "arena {offset}"),
        }
    }
}

impl fmt::Display for Case {
    /// The place and how it moves, without the guards: `output 0 - 64 + 64 i0`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = |number: i64| if number < 0 { '-' } else { '+' };
        write!(f, "{}", self.place)?;
        if self.offset != 0 {
            write!(f, " {} {}", sign(self.offset), self.offset.unsigned_abs())?;
        }
        for &(depth, stride) in &self.strides {
            write!(f, " {} {} i{depth}", sign(stride), stride.unsigned_abs())?;
        }
        Ok(())
    }
}

impl fmt::Display for Address {
    /// The cases in order; `i0` is the iteration of the outermost loop: `input 1 if i0 < 1, else output 0 - 64 + 64 i0`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cases = match self {
            Self::Fixed(place) => return place.fmt(f),
            Self::Moving(cases) => cases,
        };
        for (idx, case) in cases.iter().enumerate() {
            write!(f, "{}{case}", if idx == 0 { "" } else { ", else " })?;
            for (idx, guard) in case.guards.iter().enumerate() {
                f.write_str(if idx == 0 { " if " } else { " and " })?;
                match guard {
                    Guard::Before { depth, count } => write!(f, "i{depth} < {count}")?,
                    Guard::Odd { depth } => write!(f, "i{depth} is odd")?,
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_say_how_they_move() {
        let stack = Address::from(Place::Output(0)).moved(-64, 0, 64);
        let carried = Address::from(Place::Input(1)).before(0, 1, &stack);
        assert_eq!(carried.to_string(), "input 1 if i0 < 1, else output 0 - 64 + 64 i0");
        let slots = Address::from(Place::Arena(64)).odd(1, &Place::Arena(0).into());
        assert_eq!(slots.to_string(), "arena 64 if i1 is odd, else arena 0");
    }

    #[test]
    fn steps_have_an_outline() {
        let condition = Address::from(Place::Arena(64));
        let steps = [
            Step::Loop { trips: 8, body: 4 },
            Step::Launch(0),
            Step::Branch { condition: condition.clone(), on_true: 1, on_false: 1 },
            Step::Launch(1),
            Step::Launch(2),
            Step::While { condition, head: 1, body: 1 },
            Step::Launch(3),
            Step::Launch(4),
        ];
        let text: Vec<String> = outline(&steps)
            .into_iter()
            .map(|(depth, line)| {
                let line = match line {
                    Line::Launch(launch) => format!("launch {launch}"),
                    Line::Heading(heading) => heading,
                };
                format!("{}{line}", "  ".repeat(depth))
            })
            .collect();
        let expected = [
            "8 times",
            "  launch 0",
            "  if arena 64",
            "    launch 1",
            "  else",
            "    launch 2",
            "repeat",
            "  launch 3",
            "while arena 64",
            "  launch 4",
        ];
        assert_eq!(text, expected);
        assert_eq!(repeats(&steps), [Some(8), None, None, None, None]);
    }
}
