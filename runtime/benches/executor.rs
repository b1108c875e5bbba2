//! What a run costs beyond its kernels: three launches of almost nothing, a loop of such launches
//! whose arguments move, and fork and join of a team of threads.
//!
//! `cargo bench -p nnc-runtime --bench executor`
#![allow(missing_docs, reason = "criterion's macros make public functions")]

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};

#[cfg(target_arch = "x86_64")]
#[path = "../tests/support/kernels.rs"]
mod kernels;

#[cfg(target_arch = "x86_64")]
fn runs(criterion: &mut Criterion) {
    use nnc_runtime::{Executable, device::Cpu};

    let mut group = criterion.benchmark_group("run");
    // One chunk a launch: nobody but the calling thread. Two chunks a launch: three forks and joins.
    for (len, chunk, threads) in [(1, 1, 1), (2, 1, 2)] {
        let program = kernels::step(len, chunk);
        let executable = Executable::load(program, &Cpu::new()).expect("a valid program");
        let mut instance = executable.instance(threads).expect("enough memory");
        group.bench_function(BenchmarkId::new("3 launches", format!("{threads} threads")), |bencher| {
            bencher.iter(|| instance.run().expect("runs"));
        });
    }
    for threads in [1, 2] {
        let program = kernels::running_sums(2, 1000, 3 - threads as u64);
        let executable = Executable::load(program, &Cpu::new()).expect("a valid program");
        let mut instance = executable.instance(threads).expect("enough memory");
        group.bench_function(BenchmarkId::new("1000 trips of a launch", format!("{threads} threads")), |bencher| {
            bencher.iter(|| instance.run().expect("runs"));
        });
    }
    group.finish();

    let mut group = criterion.benchmark_group("load");
    let bytes = nnc_runtime::artifact::encode(&kernels::step(1024, 64)).expect("encodes");
    group.bench_function("decode, load, instance", |bencher| {
        bencher.iter(|| {
            let program = nnc_runtime::artifact::decode(&bytes).expect("decodes");
            Executable::load(program, &Cpu::new()).expect("valid").instance(1).expect("enough memory")
        });
    });
    group.finish();
}

#[cfg(not(target_arch = "x86_64"))]
fn runs(_: &mut Criterion) {}

criterion_group!(benches, runs);
criterion_main!(benches);
