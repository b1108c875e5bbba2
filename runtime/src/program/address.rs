//! Where an argument of a launch lies: at a place, or at one that moves with the iterations of the loops around it.
//!
//! What a loop body reads and writes differs from iteration to iteration: the slice of a tensor that the loop goes
//! along, the part of a result that the iteration adds, the slot that holds a carried value at the moment. All of these
//! are closed forms of the iteration numbers, so nothing has to be copied, kept or updated to know an address.

use serde::{Deserialize, Serialize};

use super::{Iterations, Place};

/// Where an argument lies.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Address {
    /// In the same place in every iteration.
    Fixed(Place),
    /// As the first case says whose guards all hold; the last has none.
    ///
    /// ```text
    /// the slice of an operand, 64 bytes each, backwards:   input 0 + 960 - 64 i
    /// a carried value that ends up in a stacked result:    if i < 1: input 1;  output 0 - 64 + 64 i
    /// a carried value in two slots by turns:               if i < 1: input 1;  if i is odd: arena 0;  arena 64
    /// ```
    Moving(Vec<Case>),
}

/// One form of a moving address.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Case {
    /// When it holds.
    pub guards: Vec<Guard>,
    /// The tensor.
    pub place: Place,
    /// Bytes from the start of the place in iteration 0 of all loops.
    pub offset: i64,
    /// Loops by their depth (the outermost around the launch is 0), each once, and the bytes that each of their
    /// iterations adds.
    pub strides: Vec<(u8, i64)>,
}

/// A condition on an iteration number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Guard {
    /// The loop at this depth is in one of its first `count` iterations.
    Before {
        /// Which loop.
        depth: u8,
        /// How many iterations.
        count: u64,
    },
    /// The iteration number of the loop at this depth is odd.
    Odd {
        /// Which loop.
        depth: u8,
    },
}

impl Guard {
    /// Whether the condition holds.
    pub fn holds(&self, iterations: &Iterations) -> bool {
        match *self {
            Self::Before { depth, count } => iterations.at(depth) < count,
            Self::Odd { depth } => iterations.at(depth) % 2 == 1,
        }
    }

    /// The loop it looks at.
    pub fn depth(&self) -> u8 {
        match *self {
            Self::Before { depth, .. } | Self::Odd { depth } => depth,
        }
    }
}

impl From<Place> for Address {
    fn from(place: Place) -> Self {
        Self::Fixed(place)
    }
}

impl Case {
    /// Bytes from the start of the place.
    pub fn offset_at(&self, iterations: &Iterations) -> i64 {
        self.strides.iter().fold(self.offset, |offset, &(depth, stride)| {
            // Validation found the sum in range for every iteration; a loop without end may count beyond.
            offset.wrapping_add(stride.wrapping_mul(iterations.at(depth) as i64))
        })
    }
}

impl Address {
    /// The place, and the bytes from its start, in the given iterations of the loops around the launch.
    pub fn resolve(&self, iterations: &Iterations) -> (Place, i64) {
        match self {
            Self::Fixed(place) => (*place, 0),
            Self::Moving(cases) => {
                let holds = |case: &&Case| case.guards.iter().all(|guard| guard.holds(iterations));
                let case = cases.iter().find(holds).expect("the last case has no guards");
                (case.place, case.offset_at(iterations))
            }
        }
    }

    /// All cases: one without guards for a fixed place.
    pub fn cases(&self) -> Vec<Case> {
        match self {
            Self::Fixed(place) => vec![Case { guards: Vec::new(), place: *place, offset: 0, strides: Vec::new() }],
            Self::Moving(cases) => cases.clone(),
        }
    }

    /// Every place it can lead to, in order of the cases.
    pub fn places(&self) -> impl Iterator<Item = Place> + '_ {
        let (fixed, moving) = match self {
            Self::Fixed(place) => (Some(*place), &[][..]),
            Self::Moving(cases) => (None, cases.as_slice()),
        };
        fixed.into_iter().chain(moving.iter().map(|case| case.place))
    }

    /// The depths of the loops that move it.
    pub fn depths(&self) -> impl Iterator<Item = u8> + '_ {
        let cases = match self {
            Self::Fixed(_) => &[][..],
            Self::Moving(cases) => cases.as_slice(),
        };
        cases
            .iter()
            .flat_map(|case| case.guards.iter().map(Guard::depth).chain(case.strides.iter().map(|&(depth, _)| depth)))
    }
}

/// How addresses are made of addresses.
impl Address {
    /// From a list of cases, as simple as it can be written.
    fn of(cases: Vec<Case>) -> Self {
        match cases.as_slice() {
            [case] if case.guards.is_empty() && case.offset == 0 && case.strides.is_empty() => Self::Fixed(case.place),
            _ => Self::Moving(cases),
        }
    }

    /// This address, `offset` bytes on and `stride` more with every iteration of the loop at `depth`.
    #[must_use]
    pub fn moved(&self, offset: i64, depth: u8, stride: i64) -> Self {
        let mut cases = self.cases();
        for case in &mut cases {
            case.offset += offset;
            if stride != 0 {
                case.strides.push((depth, stride));
            }
        }
        Self::of(cases)
    }

    /// This address in the first `count` iterations of the loop at `depth`, then `rest`.
    #[must_use]
    pub fn before(&self, depth: u8, count: u64, rest: &Self) -> Self {
        self.guarded(Guard::Before { depth, count }, rest)
    }

    /// This address in odd iterations of the loop at `depth`, in even ones `even`.
    #[must_use]
    pub fn odd(&self, depth: u8, even: &Self) -> Self {
        self.guarded(Guard::Odd { depth }, even)
    }

    fn guarded(&self, guard: Guard, rest: &Self) -> Self {
        if self == rest {
            return self.clone();
        }
        let mut cases = self.cases();
        // The guard of this level last: a case with no other is the one that ends the others of its kind.
        cases.iter_mut().for_each(|case| case.guards.push(guard));
        cases.extend(rest.cases());
        Self::of(cases)
    }

    /// Where this address was one iteration of the loop at `depth` earlier.
    #[must_use]
    pub fn previous(&self, depth: u8) -> Self {
        let mut cases = self.cases();
        let mut parity = false;
        for case in &mut cases {
            for guard in &mut case.guards {
                match guard {
                    Guard::Before { depth: of, count } if *of == depth => *count += 1,
                    Guard::Odd { depth: of } if *of == depth => parity = true,
                    Guard::Before { .. } | Guard::Odd { .. } => {}
                }
            }
            let stride: i64 = case.strides.iter().filter(|(of, _)| *of == depth).map(|(_, stride)| stride).sum();
            case.offset -= stride;
        }
        debug_assert!(!parity, "a slot used by turns holds nothing of the iteration before the last");
        Self::of(cases)
    }

    /// This address in iteration `at` of the loop at `depth`, whichever iteration it is now.
    #[must_use]
    pub fn fixed_at(&self, depth: u8, at: u64) -> Self {
        let mut cases: Vec<Case> = Vec::new();
        for mut case in self.cases() {
            let fails = |guard: &Guard| match *guard {
                Guard::Before { depth: of, count } => of == depth && at >= count,
                Guard::Odd { depth: of } => of == depth && at.is_multiple_of(2),
            };
            if case.guards.iter().any(fails) {
                continue;
            }
            case.guards.retain(|guard| guard.depth() != depth);
            let stride: i64 = case.strides.iter().filter(|(of, _)| *of == depth).map(|(_, stride)| stride).sum();
            case.offset += stride * at as i64;
            case.strides.retain(|(of, _)| *of != depth);
            let is_last = case.guards.is_empty();
            cases.push(case);
            if is_last {
                break;
            }
        }
        Self::of(cases)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(address: &Address, iterations: &[u64]) -> (Place, i64) {
        address.resolve(&Iterations::of(iterations))
    }

    #[test]
    fn addresses_follow_the_iterations() {
        let (x, h, out) = (Address::from(Place::Input(0)), Address::from(Place::Input(1)), Place::Output(0));
        let backwards = x.moved(960, 0, -64);
        assert_eq!(at(&backwards, &[0]), (Place::Input(0), 960));
        assert_eq!(at(&backwards, &[15]), (Place::Input(0), 0));
        let written = Address::from(out).moved(0, 0, 64);
        let carried = h.before(0, 1, &written.previous(0));
        assert_eq!(at(&carried, &[0]), (Place::Input(1), 0));
        assert_eq!(at(&carried, &[1]), (out, 0));
        assert_eq!(at(&carried, &[7]), (out, 384));
        assert_eq!(at(&written, &[7]), (out, 448));
        assert_eq!(carried.fixed_at(0, 7), Address::from(out).moved(384, 0, 0));
        assert_eq!(carried.fixed_at(0, 0), h);
    }

    #[test]
    fn addresses_of_inner_loops_start_at_those_of_outer_ones() {
        // The initial value of an inner loop is the outer loop's carried value; both go by turns.
        let slots = [0, 64].map(|offset| Address::from(Place::Arena(offset)));
        let outer = Address::from(Place::Input(0)).before(0, 1, &slots[0].odd(0, &slots[1]));
        let slots = [128, 192].map(|offset| Address::from(Place::Arena(offset)));
        let inner = outer.before(1, 1, &slots[0].odd(1, &slots[1]));
        assert_eq!(at(&inner, &[0, 0]).0, Place::Input(0));
        assert_eq!(at(&inner, &[1, 0]).0, Place::Arena(0));
        assert_eq!(at(&inner, &[2, 0]).0, Place::Arena(64));
        assert_eq!(at(&inner, &[2, 1]).0, Place::Arena(128));
        assert_eq!(at(&inner, &[0, 2]).0, Place::Arena(192));
        assert_eq!(inner.fixed_at(1, 0), outer);
        assert_eq!(inner.depths().max(), Some(1));
    }
}
