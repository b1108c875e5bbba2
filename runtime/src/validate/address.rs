//! Addresses that move: where they lead in the first and the last iteration of every loop, and in all between.

use super::fault;
use crate::error::Error;
use crate::program::{ALIGN, Address, Case, Guard, MAX_LOOPS, Place};

/// What is done at an address.
#[derive(Clone, Copy)]
pub(super) struct Access {
    pub(super) bytes: u64,
    pub(super) align: u32,
    pub(super) written: bool,
}

/// Boxes of iterations that are told apart at most.
const MAX_BOXES: usize = 64;

/// The iterations that loops may be in, first and last, the outermost loop first.
#[derive(Clone, Default)]
pub(super) struct Ranges(Vec<(u64, u64)>);

impl Ranges {
    /// Enters a loop; `false` if there are too many.
    pub(super) fn push(&mut self, first: u64, last: u64) -> bool {
        if self.0.len() == MAX_LOOPS {
            return false;
        }
        self.0.push((first, last));
        true
    }

    /// Leaves the innermost loop.
    pub(super) fn pop(&mut self) {
        self.0.pop();
    }

    /// Checks that all an access touches lies in its place, whose bytes `room` knows, in every iteration.
    pub(super) fn check(
        &self,
        place: &dyn Fn() -> String,
        address: &Address,
        access: Access,
        room: &dyn Fn(Place) -> u64,
    ) -> Result<(), Error> {
        if !access.align.is_power_of_two() || access.align as usize > ALIGN {
            let expected = format!("a power of two of at most {ALIGN}");
            return Err(fault(place, format!("alignment {}", access.align), expected));
        }
        let cases = match address {
            Address::Fixed(found) => {
                let (bytes, room) = (access.bytes, room(*found));
                if bytes <= room {
                    return Ok(());
                }
                return Err(fault(place, format!("{bytes} bytes at {found:?}"), format!("at most {room}")));
            }
            Address::Moving(cases) => cases,
        };
        if !cases.last().is_some_and(|case| case.guards.is_empty()) {
            return Err(fault(
                place,
                "no case that holds otherwise".to_owned(),
                "a last case without guards".to_owned(),
            ));
        }
        // What no case so far has taken: boxes of iterations that do not overlap.
        let mut left = vec![self.clone()];
        for case in cases {
            self.check_depths(place, case)?;
            let mut rest = Vec::new();
            for ranges in &left {
                if let Some(taken) = ranges.split(&case.guards, &mut rest) {
                    taken.check_case(place, case, access, room(case.place))?;
                }
            }
            let is_box = case.guards.iter().all(|guard| matches!(guard, Guard::Before { .. }));
            // Otherwise later cases are checked for more iterations than they are for.
            if is_box && rest.len() <= MAX_BOXES {
                left = rest;
            }
        }
        Ok(())
    }

    /// The part in which all guards hold, if there is one; the other parts go to `rest`.
    fn split(&self, guards: &[Guard], rest: &mut Vec<Self>) -> Option<Self> {
        let mut taken = self.clone();
        for guard in guards {
            let &Guard::Before { depth, count } = guard else { continue };
            let (first, last) = taken.0[usize::from(depth)];
            if last >= count {
                let mut later = taken.clone();
                later.0[usize::from(depth)] = (first.max(count), last);
                rest.push(later);
            }
            if first >= count {
                return None;
            }
            taken.0[usize::from(depth)].1 = last.min(count - 1);
        }
        Some(taken)
    }

    fn check_depths(&self, place: &dyn Fn() -> String, case: &Case) -> Result<(), Error> {
        let depths = case.guards.iter().map(Guard::depth).chain(case.strides.iter().map(|&(depth, _)| depth));
        match depths.max() {
            Some(depth) if usize::from(depth) >= self.0.len() => {
                let expected = format!("one of the {} around it", self.0.len());
                Err(fault(place, format!("loop {depth}"), expected))
            }
            _ => Ok(()),
        }
    }

    fn check_case(&self, place: &dyn Fn() -> String, case: &Case, access: Access, room: u64) -> Result<(), Error> {
        // Eight loops of 64-bit strides and iterations fit twice over.
        let (mut least, mut most) = (i128::from(case.offset), i128::from(case.offset));
        for &(depth, stride) in &case.strides {
            let (first, last) = self.0[usize::from(depth)];
            let ends = [first, last].map(|iteration| i128::from(stride).saturating_mul(i128::from(iteration)));
            least = least.saturating_add(ends[0].min(ends[1]));
            most = most.saturating_add(ends[0].max(ends[1]));
        }
        if least < 0 || most.saturating_add(i128::from(access.bytes)) > i128::from(room) {
            let found = format!("{} bytes from {least} to {most} bytes into {:?}", access.bytes, case.place);
            return Err(fault(place, found, format!("at most {room} bytes, none before the first")));
        }
        let align = i64::from(access.align);
        if case.offset % align != 0 || case.strides.iter().any(|(_, stride)| stride % align != 0) {
            let found = format!("offset {} and strides {:?} at {:?}", case.offset, case.strides, case.place);
            return Err(fault(place, found, format!("multiples of {align}")));
        }
        Ok(())
    }
}
