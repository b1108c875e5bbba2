//! Files of every format, damaged at random: whatever the loaders make of them, they do not panic, and what they
//! accept can be worked with.

use nnc::runtime::{Executable, artifact, device};
use nnc_ir::npy::{read_npy, read_npz, write_npy, write_npz};
use nnc_ir::parse::{WeightSource, parse_module};
use nnc_ir::{TensorData, WeightFile, binary};
use nnc_tests::execute::Tensors;
use proptest::prelude::*;

const MODEL: &str = "\
func @layer(%x: f32[N, 3], param %w: f32[2, 3] = @w, state %m: f32[2] = @m) -> (y: f32[N, 2], m: f32[2] into %m) {
  %0 = dot_general %x, %w {lhs_contract = [1], rhs_contract = [1]} : f32[N, 2]
  %1 = constant [[1.0, -2.5e-7], [nan, inf]] : f32[2, 2]
  %2 = fusion %0 {kind = pointwise} (%p0: f32[N, 2]) {
    %0 = constant 0.0 : f32[N, 2]
    %1 = maximum %p0, %0 : f32[N, 2]
    return %1
  } : f32[N, 2]
  %3 = slice %1 {start = [0, 1], limit = [2, 2]} : f32[2, 1]
  %4 = reshape %3 : f32[2]
  return %2, %4
}
";

const LOOPS: &str = "\
func @loops(%x: f32[N, 3], state %m: f32[3] = @m3, %go: bool[]) -> (y: f32[N, 3], m: f32[3] into %m, n: i32[]) {
  %0, %1 = scan %m, %x {n_carried = 1, n_scanned = 1, length = N, reverse = true} (%p0: f32[3], %p1: f32[3]) {
    %0 = add %p0, %p1 : f32[3]
    return %0, %0
  } : f32[3], f32[N, 3]
  %2 = cond %go, %0 (%p0: f32[3]) {
    %0 = negate %p0 : f32[3]
    return %0
  } (%p0: f32[3]) {
    return %p0
  } : f32[3]
  %3 = constant 9 : i32[]
  %4 = while %3 (%p0: i32[]) {
    %0 = constant 0 : i32[]
    %1 = compare %p0, %0 {direction = gt} : bool[]
    return %1
  } (%p0: i32[]) {
    %0 = constant 1 : i32[]
    %1 = subtract %p0, %0 : i32[]
    return %1
  } : i32[]
  return %1, %2, %4
}
";

fn weights() -> WeightFile {
    let mut file = WeightFile::default();
    file.tensors.insert("w".into(), TensorData::from_f32(vec![2, 3], &[1.0; 6]));
    file.tensors.insert("m".into(), TensorData::from_f32(vec![2], &[1.0; 2]));
    file.tensors.insert("m3".into(), TensorData::from_f32(vec![3], &[1.0; 3]));
    file
}

fn module(text: &str) -> nnc_ir::Module {
    parse_module(text, "t.ir", WeightSource::given(weights().tensors)).expect("a module")
}

/// A model to damage.
fn model() -> impl Strategy<Value = &'static str> {
    prop::sample::select(&[MODEL, LOOPS][..])
}

/// One change of a file.
#[derive(Clone, Debug)]
enum Change {
    Truncate(prop::sample::Index),
    Set(prop::sample::Index, u8),
    Flip(prop::sample::Index, u8),
    Insert(prop::sample::Index, Vec<u8>),
    Remove(prop::sample::Index, usize),
    /// A part appears again elsewhere.
    Copy(prop::sample::Index, prop::sample::Index, usize),
}

impl Change {
    fn apply(&self, bytes: &mut Vec<u8>) {
        if bytes.is_empty() {
            return;
        }
        let len = bytes.len();
        match self {
            Self::Truncate(at) => bytes.truncate(at.index(len)),
            Self::Set(at, byte) => bytes[at.index(len)] = *byte,
            Self::Flip(at, bit) => bytes[at.index(len)] ^= 1 << (bit % 8),
            Self::Insert(at, new) => drop(bytes.splice(at.index(len)..at.index(len), new.iter().copied())),
            Self::Remove(at, n) => drop(bytes.drain(at.index(len)..(at.index(len) + n).min(len))),
            Self::Copy(from, to, n) => {
                let part = bytes[from.index(len)..(from.index(len) + n).min(len)].to_vec();
                drop(bytes.splice(to.index(len)..to.index(len), part));
            }
        }
    }
}

fn change() -> impl Strategy<Value = Change> {
    let at = any::<prop::sample::Index>;
    let token = prop::sample::select(
        &["%0", "@w", "f32[", "]", "}", "{", "99999999999999999999", "-1", "N", "//", "\"", "func", "nan", ",", "= "][..],
    );
    prop_oneof![
        at().prop_map(Change::Truncate),
        (at(), any::<u8>()).prop_map(|(at, byte)| Change::Set(at, byte)),
        (at(), any::<u8>()).prop_map(|(at, bit)| Change::Flip(at, bit)),
        (at(), prop::collection::vec(any::<u8>(), 1..9)).prop_map(|(at, new)| Change::Insert(at, new)),
        (at(), token).prop_map(|(at, token)| Change::Insert(at, token.as_bytes().to_vec())),
        (at(), 1..40usize).prop_map(|(at, n)| Change::Remove(at, n)),
        (at(), at(), 1..60usize).prop_map(|(from, to, n)| Change::Copy(from, to, n)),
    ]
}

fn changed(bytes: &[u8], changes: &[Change]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    changes.iter().for_each(|change| change.apply(&mut bytes));
    bytes
}

/// `NNC_CASES=100000` runs longer.
fn config() -> ProptestConfig {
    let cases = std::env::var("NNC_CASES").ok().and_then(|text| text.parse().ok()).unwrap_or(3000);
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

/// What is accepted can be verified, printed, and prepared for running.
fn work_with(module: &nnc_ir::Module) {
    if module.verify().is_err() {
        return;
    }
    let text = module.to_string();
    let again = parse_module(&text, "again.ir", WeightSource::given(module.weights.clone()));
    assert_eq!(again.expect("what is printed parses").to_string(), text);
    for func in &module.funcs {
        let options = nnc::Options { dims: [("N".to_string(), 2)].into(), ..nnc::Options::default() };
        // Any error will do.
        let elements = |ty: &nnc_ir::TensorType| ty.substitute(&options.dims).n_elements().unwrap_or(usize::MAX);
        let is_small =
            func.graph.nodes().all(|(_, data)| data.results().all(|result| elements(func.graph.ty(result)) < 1 << 20));
        if is_small {
            let _ = nnc::compile::lower(func, &module.weights, &options);
        }
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn text(model in model(), changes in prop::collection::vec(change(), 1..5)) {
        let bytes = changed(model.as_bytes(), &changes);
        let text = String::from_utf8_lossy(&bytes);
        match parse_module(&text, "t.ir", WeightSource::given(weights().tensors)) {
            Ok(module) => work_with(&module),
            Err(faults) => {
                let mut reporter = nnc_ir::Reporter::new(false);
                reporter.add_source("t.ir", &text);
                prop_assert!(!faults.is_empty());
                faults.iter().for_each(|fault| drop(reporter.error(fault)));
            }
        }
    }

    #[test]
    fn binary_modules(model in model(), changes in prop::collection::vec(change(), 1..4)) {
        let bytes = changed(&binary::to_bytes(&module(model)).expect("it can be written"), &changes);
        if let Ok(module) = binary::from_bytes(&bytes, "t.irb") {
            work_with(&module);
        }
    }

    #[test]
    fn weight_files(changes in prop::collection::vec(change(), 1..4)) {
        if let Ok(file) = WeightFile::from_bytes(&changed(&weights().to_bytes(), &changes), "t.safetensors") {
            let given = WeightSource::file(file.tensors, "t.safetensors");
            if let Ok(module) = parse_module(MODEL, "t.ir", given) {
                work_with(&module);
            }
        }
    }

    #[test]
    fn arrays(changes in prop::collection::vec(change(), 1..4)) {
        let array = TensorData::from_f32(vec![3, 2], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        let bytes = changed(&write_npy(&array).expect("it can be written"), &changes);
        if let Ok(array) = read_npy(bytes.as_slice()) {
            prop_assert_eq!(array.len() * array.dtype.size(), array.bytes.len());
        }
        let mut arrays = Tensors::new();
        arrays.insert("x".to_string(), array.clone());
        arrays.insert("y".to_string(), array);
        let bytes = changed(&write_npz(&arrays).expect("it can be written"), &changes);
        let _ = read_npz(std::io::Cursor::new(bytes));
    }

    /// The null device checks and plans, and runs none of the damaged code.
    #[test]
    fn artifacts(
        model in model(),
        changes in prop::collection::vec(change(), 1..4),
        repaired in any::<bool>(),
    ) {
        let options = nnc::Options { dims: [("N".to_string(), 2)].into(), ..nnc::Options::default() };
        let module = module(model);
        let (executable, _) = nnc::jit::compile_cached(&module.funcs[0], &module.weights, &options).expect("it compiles");
        let mut bytes = changed(&artifact::encode(executable.program()).expect("it can be written"), &changes);
        if repaired && bytes.len() > 24 {
            // Past the check sum, to what it protects.
            let body = bytes.split_off(24);
            bytes[12..16].copy_from_slice(&crc32fast::hash(&body).to_le_bytes());
            bytes[16..24].copy_from_slice(&(body.len() as u64).to_le_bytes());
            bytes.extend(body);
        }
        let null = device::open("null").expect("there always is one");
        if let Ok(program) = artifact::decode(&bytes)
            && let Ok(executable) = Executable::load(program, &*null)
        {
            prop_assert!(executable.program().peak_bytes() < u64::MAX);
        }
    }
}
