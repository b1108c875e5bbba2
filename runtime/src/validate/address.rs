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
        let mut left = self.clone();
        for case in cases {
            self.check_depths(place, case)?;
            let mut ranges = left.clone();
            case.guards.iter().for_each(|guard| ranges.narrow(*guard));
            ranges.check_case(place, case, access, room(case.place))?;
            if let [Guard::Before { depth, count }] = case.guards[..] {
                // Later cases are for later iterations.
                let range = &mut left.0[usize::from(depth)];
                range.0 = range.0.max(count).min(range.1.max(range.0));
            }
        }
        Ok(())
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

    /// Leaves out iterations in which the guard does not hold.
    fn narrow(&mut self, guard: Guard) {
        if let Guard::Before { depth, count } = guard {
            let range = &mut self.0[usize::from(depth)];
            range.1 = range.1.min(count.saturating_sub(1)).max(range.0);
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
