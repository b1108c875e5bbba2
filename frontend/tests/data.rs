//! Data sets, loaders, and the IDX reader on good and damaged files.

use std::io::Write;
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;
use ndarray::{Array1, Array2, array};
use nnc_frontend::data::{DataLoader, Dataset, Subset, TensorDataset, fashion_mnist, random_split, read_idx};

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
    let parts = random_split(numbered(10), &[7, 3], 5);
    let mut all: Vec<i64> = parts.iter().flat_map(|part| (0..part.len()).map(|idx| part.get(idx).1.sum())).collect();
    assert_ne!(all, (0..10).collect::<Vec<_>>());
    all.sort_unstable();
    assert_eq!(all, (0..10).collect::<Vec<_>>());
    let subset = Subset::new(numbered(10), 3..5);
    assert_eq!(DataLoader::new(subset).batch_size(8).iter().next().unwrap().1, array![3, 4].into_dyn());
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
