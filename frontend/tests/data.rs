//! Data sets, loaders, and the IDX reader on good and damaged files.

use std::io::Write;
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;
use ndarray::{Array1, Array2, array};
use nnc_frontend::data::{
    BatchSampler, ConcatDataset, DataLoader, Dataset, Loader, SequentialSampler, Subset, SubsetRandomSampler,
    TensorDataset, WrappedDataLoader, fashion_mnist, random_split, read_idx,
};
use nnc_frontend::random::next_generator;

fn numbered(n: usize) -> TensorDataset<f32, i64> {
    let x = Array2::from_shape_fn((n, 2), |(row, column)| (row * 10 + column) as f32);
    TensorDataset::new(x, Array1::from_iter(0..n as i64))
}

/// The labels of each batch of one epoch.
fn labels(loader: &DataLoader<TensorDataset<f32, i64>>) -> Vec<Vec<i64>> {
    loader.iter().map(|(_, y)| y.iter().copied().collect()).collect()
}

#[test]
fn batches_are_rows_in_order() {
    let loader = DataLoader::new(numbered(5)).batch_size(2);
    assert_eq!(labels(&loader), [vec![0, 1], vec![2, 3], vec![4]]);
    let (x, _) = loader.iter().nth(1).unwrap();
    assert_eq!(x, array![[20.0, 21.0], [30.0, 31.0]].into_dyn());
    assert_eq!((loader.len(), loader.iter().len()), (3, 3));
    let loader = loader.drop_last(true);
    assert_eq!(labels(&loader), [[0, 1], [2, 3]]);
    assert_eq!(numbered(3).slice(1..9).1, array![1, 2].into_dyn());
    assert_eq!(numbered(3).get(2).0, array![20.0, 21.0].into_dyn());
}

#[test]
fn shuffles_follow_the_seed_and_differ_by_epoch() {
    let loader = |seed| DataLoader::new(numbered(40)).batch_size(7).shuffle(true).seed(seed);
    let (first, again, other) = (loader(1), loader(1), loader(2));
    let epoch = labels(&first);
    assert_eq!(epoch, labels(&again));
    assert_ne!(epoch, labels(&other));
    assert_ne!(epoch, labels(&first), "the second epoch has an order of its own");
    first.set_epoch(0);
    assert_eq!(epoch, labels(&first));
    let seeded = |seed| {
        nnc_frontend::random::manual_seed(seed);
        labels(&DataLoader::new(numbered(40)).batch_size(7).shuffle(true))
    };
    assert_eq!(seeded(4), seeded(4));
    assert_ne!(seeded(4), seeded(5));
    let mut all = epoch.concat();
    all.sort_unstable();
    assert_eq!(all, (0..40).collect::<Vec<_>>());
}

#[test]
fn workers_change_nothing_but_the_waiting() {
    let loader = |n_workers| DataLoader::new(numbered(50)).batch_size(4).shuffle(true).seed(3).num_workers(n_workers);
    let alone = labels(&loader(0));
    for n_workers in [1, 2, 5, 20] {
        assert_eq!(labels(&loader(n_workers)), alone);
    }
    // An epoch may be left early.
    assert!(loader(2).iter().next().is_some());
}

#[test]
fn splits_are_disjoint_and_whole() {
    let parts = random_split(numbered(10), [7, 3], 5).unwrap();
    let mut all: Vec<i64> = parts.iter().flat_map(|part| (0..part.len()).map(|idx| part.get(idx).1.sum())).collect();
    assert_ne!(all, (0..10).collect::<Vec<_>>());
    all.sort_unstable();
    assert_eq!(all, (0..10).collect::<Vec<_>>());
    let subset = Subset::new(numbered(10), 3..5);
    assert_eq!(DataLoader::new(subset).batch_size(8).iter().next().unwrap().1, array![3, 4].into_dyn());
}

#[test]
fn impossible_splits_are_refused() {
    let fault = |lengths: &[f64]| random_split(numbered(10), lengths, 0).unwrap_err().to_string();
    assert!(fault(&[0.5, 0.4]).contains("expected ones that add up to 1"));
    assert!(fault(&[1.5, -0.5]).contains("[1.5, -0.5]"));
    let fault = random_split(numbered(10), [7, 4], 0).unwrap_err().to_string();
    assert!(fault.contains("[7, 4] do not add up to the 10 examples"), "{fault}");
    let fault = Subset::try_new(numbered(10), [3, 10]).unwrap_err().to_string();
    assert!(fault.contains("example 10, expected one of the 10"), "{fault}");
}

#[test]
fn data_sets_follow_one_another() {
    let all = ConcatDataset::new([numbered(3), numbered(0), numbered(2)]);
    let loader = DataLoader::new(all).batch_size(5);
    assert_eq!(loader.iter().next().unwrap().1, array![0, 1, 2, 0, 1].into_dyn());
    type Shared = std::sync::Arc<dyn Dataset<Item = (ndarray::ArrayD<f32>, ndarray::ArrayD<i64>)> + Send + Sync>;
    let parts: [Shared; 2] = [std::sync::Arc::new(numbered(3)), std::sync::Arc::new(Subset::new(numbered(9), [8]))];
    assert_eq!(DataLoader::new(ConcatDataset::new(parts)).batch_size(5).iter().next().unwrap().1.sum(), 11);
}

#[test]
fn samplers_say_which_examples_come() {
    let loader = DataLoader::new(numbered(10)).batch_size(2).seed(4);
    let some = labels(&loader.sampler(SubsetRandomSampler::new([1, 5, 9])));
    let mut sorted = some.concat();
    sorted.sort_unstable();
    assert_eq!((some.len(), sorted), (2, vec![1, 5, 9]));
    let loader = DataLoader::new(numbered(7)).batch_sampler(BatchSampler::new(SequentialSampler::new(7), 3, true));
    assert_eq!(labels(&loader), [[0, 1, 2], [3, 4, 5]]);
}

/// Examples that are changed at random each time they are asked for.
struct Jittered(usize);

impl Dataset for Jittered {
    type Item = (f64, i64);

    fn len(&self) -> usize {
        self.0
    }

    fn get(&self, idx: usize) -> (f64, i64) {
        (idx as f64 + next_generator().uniform(), idx as i64)
    }
}

#[test]
fn random_changes_follow_the_seed_whoever_makes_them() {
    let epochs = |n_workers| {
        let loader = DataLoader::new(Jittered(11)).batch_size(2).shuffle(true).seed(1).num_workers(n_workers);
        (0..2).flat_map(|_| loader.iter().flat_map(|(x, _)| x).collect::<Vec<_>>()).collect::<Vec<f64>>()
    };
    let alone = epochs(0);
    assert_ne!(alone[..11], alone[11..]);
    for n_workers in [1, 3] {
        assert_eq!(epochs(n_workers), alone);
    }
}

#[test]
fn a_loader_goes_on_where_another_stopped() {
    let loader = |n_workers| {
        let loader =
            DataLoader::new(Jittered(13)).batch_size(2).shuffle(true).num_workers(n_workers).prefetch_factor(1);
        WrappedDataLoader::new(loader, |(x, y): (ndarray::ArrayD<f64>, _)| (x * 2.0, y))
    };
    let whole = loader(0);
    let (first, second): (Vec<_>, Vec<_>) = (whole.iter().collect(), whole.iter().collect());
    let mut state = Loader::state(&loader(0));
    state.seed = Loader::state(&whole).seed;
    for (batch, n_workers) in [(0, 0), (3, 0), (4, 2), (7, 1)] {
        state.batch = batch;
        let resumed = loader(n_workers);
        resumed.load_state(&state).unwrap();
        assert_eq!(Loader::state(&resumed), state);
        assert!(resumed.iter().eq(first[batch..].iter().cloned()));
        assert!(resumed.iter().eq(second.iter().cloned()), "the next epoch is whole");
    }
    let direct = DataLoader::new(numbered(10)).batch_size(4).shuffle(true);
    let mut batches = direct.iter();
    let _ = batches.next();
    let state = batches.state();
    assert_eq!((state.epoch, state.batch), (0, 1));
    let rest: Vec<_> = batches.collect();
    direct.load_state(&state).unwrap();
    assert_eq!(direct.iter().collect::<Vec<_>>(), rest);

    let faults = DataLoader::new(numbered(9)).load_state(&state).unwrap_err();
    let faults: Vec<String> = faults.iter().map(|fault| fault.to_string()).collect();
    assert_eq!(faults.len(), 2, "{faults:?}");
    assert!(faults[0].contains("10 examples, expected 9") && faults[1].contains("3 batches an epoch, expected 9"));
}

#[test]
fn a_panic_of_a_data_set_arrives() {
    struct Broken;

    impl Dataset for Broken {
        type Item = f32;

        fn len(&self) -> usize {
            4
        }

        fn get(&self, idx: usize) -> f32 {
            assert!(idx < 2, "example {idx} is broken");
            0.0
        }
    }

    for n_workers in [0, 2] {
        let loader = DataLoader::new(Broken).num_workers(n_workers);
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| loader.iter().count()));
        let panic = outcome.unwrap_err();
        assert_eq!(panic.downcast_ref::<String>().map(String::as_str), Some("example 2 is broken"));
    }
}

#[test]
fn arrays_that_do_not_pair_up_are_refused() {
    let error = TensorDataset::try_new(Array2::<f32>::zeros((3, 2)), Array1::<i64>::zeros(4)).unwrap_err();
    assert_eq!(error, "inputs of shape [3, 2] and targets of shape [4] do not pair up");
}

fn idx_bytes(shape: &[u32], elements: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0, 0, 8, shape.len() as u8];
    bytes.extend(shape.iter().flat_map(|extent| extent.to_be_bytes()));
    bytes.extend(elements);
    bytes
}

fn write_gz(path: &Path, bytes: &[u8]) {
    let mut encoder = GzEncoder::new(std::fs::File::create(path).unwrap(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap();
}

#[test]
fn idx_files_are_read_plain_and_gzipped() {
    let dir = tempfile::tempdir().unwrap();
    let images = idx_bytes(&[2, 1, 3], &[0, 51, 255, 1, 2, 3]);
    write_gz(&dir.path().join("t10k-images-idx3-ubyte.gz"), &images);
    std::fs::write(dir.path().join("t10k-labels-idx1-ubyte"), idx_bytes(&[2], &[7, 9])).unwrap();
    let test = fashion_mnist(dir.path(), false).unwrap();
    assert_eq!(test.inputs().shape(), [2, 3]);
    assert_eq!((test.inputs()[[0, 1]], test.inputs()[[0, 2]]), (0.2, 1.0));
    assert_eq!(test.targets(), &array![7, 9].into_dyn());

    let error = fashion_mnist(dir.path(), true).unwrap_err().to_string();
    assert!(error.contains("train-images-idx3-ubyte.gz"), "{error}");
    std::fs::write(dir.path().join("t10k-labels-idx1-ubyte"), idx_bytes(&[3], &[7, 9, 1])).unwrap();
    let error = fashion_mnist(dir.path(), false).unwrap_err().to_string();
    assert!(error.ends_with("t10k-labels-idx1-ubyte: 3 labels, expected 2 as there are images"), "{error}");
}

#[test]
fn damaged_idx_files_are_described() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("data");
    let check = |bytes: &[u8], expected: &str| {
        std::fs::write(&path, bytes).unwrap();
        let error = read_idx(&path).unwrap_err().to_string();
        assert_eq!(error, format!("{}: {expected}", path.display()));
    };
    check(b"", "0 bytes, expected an IDX header of 4");
    check(b"\0\0", "2 bytes, expected an IDX header of 4");
    check(b"PNG!", "starts with [50, 4e, 47, 21], expected two zero bytes as an IDX file");
    check(&[0, 0, 0x0d, 1, 0, 0, 0, 0], "element type 0x0d, expected 0x08 (unsigned bytes)");
    check(&[0, 0, 8, 2, 0, 0, 0, 1, 0], "ends in the header, expected 2 extents but found 1");
    check(&idx_bytes(&[2, 2], &[1, 2, 3]), "3 elements, expected 4 for shape [2, 2]");
    check(&idx_bytes(&[2], &[1, 2, 3]), "data after the 2 elements of shape [2]");
    check(
        &idx_bytes(&[u32::MAX, u32::MAX, u32::MAX], &[]),
        "shape [4294967295, 4294967295, 4294967295], expected at most 1073741824 elements",
    );
    // A promise of a gigabyte is not believed.
    check(&idx_bytes(&[1 << 30], &[1]), "1 elements, expected 1073741824 for shape [1073741824]");

    write_gz(&path, &idx_bytes(&[100], &[7; 100]));
    let whole = std::fs::read(&path).unwrap();
    for len in 0..whole.len() {
        std::fs::write(&path, &whole[..len]).unwrap();
        assert!(read_idx(&path).is_err(), "the first {len} bytes of a gzip file are not a data set");
    }
    for at in 0..whole.len() {
        let mut mutated = whole.clone();
        mutated[at] ^= 0x55;
        std::fs::write(&path, &mutated).unwrap();
        // Whatever comes of it, nothing panics.
        let _ = read_idx(&path);
    }
}
