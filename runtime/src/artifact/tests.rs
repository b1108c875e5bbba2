use super::*;
use crate::program::{
    Address, Bound, Code, Constant, ElemType, KernelArg, KernelInfo, Launch, Place, Port, Ports, Step, TensorSpec,
    test_program,
};
use crate::rng::Philox;

/// A program with something in every field.
fn program() -> Program {
    let mut program = test_program(&[("x", &[3]), ("w", &[2, 2])], &[("y", &[5])], 4096);
    program.inputs[1].initial = Some(vec![7; 16]);
    let bound = Some(Bound { axis: 0, count: 1 });
    program.ports = Ports {
        inputs: vec![Port { name: "x".to_owned(), elem: Some("float8e4m3fn".to_owned()), tensors: 0..1, bound: None }],
        outputs: vec![Port { name: "y".to_owned(), elem: None, tensors: 0..1, bound }],
        fixed: vec![(
            "shape".to_owned(),
            Constant { spec: TensorSpec { elem: ElemType::I64, shape: vec![1] }, data: vec![3; 8].into() },
        )],
    };
    program
        .constants
        .push(Constant { spec: TensorSpec { elem: ElemType::BF16, shape: vec![2] }, data: vec![1, 2, 3, 4].into() });
    program.kernels.push(KernelInfo {
        symbol: "k0".to_owned(),
        bytes: 12,
        flops: 34,
        block: [32, 2, 1],
        shared_bytes: 8,
        args: vec![KernelArg { bytes: 12, align: 4, written: false }],
    });
    program.launches.push(Launch {
        kernel: 0,
        args: vec![
            Place::Input(0).into(),
            Address::from(Place::Arena(64)).moved(-4, 1, 8).before(0, 3, &Place::Arena(0).into()),
            Place::Constant(0).into(),
            Address::from(Place::Output(0)).odd(0, &Place::Arena(0).into()),
        ],
        extent: 100,
        chunk: 10,
        grid: [4, 1, 1],
        label: "linear1 ⨉ relu".to_owned(),
    });
    let condition = Address::from(Place::Input(0));
    program.steps = vec![
        Step::Loop { trips: 1000, body: 3 },
        Step::While { condition: condition.clone(), head: 0, body: 2 },
        Step::Branch { condition, on_true: 1, on_false: 0 },
        Step::Launch(0),
    ];
    let objects = vec![(0..300).map(|byte| byte as u8).collect(), Vec::new(), vec![7]];
    program.code =
        Code::Object { triple: "x86_64-unknown-linux-gnu".to_owned(), features: vec!["fma".to_owned()], objects };
    program
}

#[test]
fn programs_survive_the_round_trip() {
    let mut program = program();
    let bytes = encode(&program).expect("encodes");
    assert_eq!(decode(&bytes).expect("decodes"), program);
    assert_eq!(encode(&program).expect("encodes"), bytes, "equal programs give equal bytes");
    program.code = Code::Ptx { arch: "sm_90".to_owned(), text: ".version 8.0".to_owned() };
    assert_eq!(decode(&encode(&program).expect("encodes")).expect("decodes"), program);
}

#[test]
fn sizes_around_the_steps_of_the_limit_decode() {
    // Arguments take two bytes each; the decoder counts them as many more.
    for n_args in [520_000, 524_000, 530_000] {
        let mut program = program();
        program.launches[0].args = vec![Place::Input(1).into(); n_args];
        let bytes = encode(&program).expect("encodes");
        assert!(decode(&bytes).expect("decodes") == program, "{n_args} arguments, {} bytes", bytes.len());
    }
}

#[test]
fn every_truncation_is_named() {
    let bytes = encode(&program()).expect("encodes");
    for len in 0..bytes.len() {
        match decode(&bytes[..len]).expect_err("truncated") {
            Error::NotAnArtifact { .. } => assert!(len < 8),
            Error::ArtifactLength { found, expected } => {
                assert_eq!(found, len as u64);
                assert_eq!(expected, if len < HEADER_BYTES { HEADER_BYTES } else { bytes.len() } as u64);
            }
            other => panic!("{len} bytes: {other}"),
        }
    }
    let mut longer = bytes.clone();
    longer.push(0);
    assert!(matches!(decode(&longer), Err(Error::ArtifactLength { .. })));
}

#[test]
fn every_flipped_bit_is_noticed() {
    let bytes = encode(&program()).expect("encodes");
    for bit in 0..bytes.len() * 8 {
        let mut mutated = bytes.clone();
        mutated[bit / 8] ^= 1 << (bit % 8);
        let error = decode(&mutated).expect_err("corrupt");
        match bit / 64 {
            0 => assert!(matches!(error, Error::NotAnArtifact { .. }), "{error}"),
            1 if bit < 96 => assert!(matches!(error, Error::ArtifactVersion { expected: VERSION, .. }), "{error}"),
            2 => assert!(matches!(error, Error::ArtifactLength { .. }), "{error}"),
            _ => assert!(matches!(error, Error::ArtifactChecksum { .. }), "{error}"),
        }
    }
}

/// Wraps bytes that are not a program in a valid header.
fn with_header(body: &[u8]) -> Vec<u8> {
    let mut bytes = SIGNATURE.to_vec();
    bytes.extend(VERSION.to_le_bytes());
    bytes.extend(crc32fast::hash(body).to_le_bytes());
    bytes.extend((body.len() as u64).to_le_bytes());
    bytes.extend(body);
    bytes
}

#[test]
fn bodies_that_lie_are_refused_without_huge_allocations() {
    // A name of 2⁶² bytes: 0xfd announces a 64-bit length.
    let lie = [&[0xfd][..], &(1_u64 << 62).to_le_bytes()].concat();
    assert!(matches!(decode(&with_header(&lie)), Err(Error::ArtifactDecode { .. })));
    assert!(matches!(decode(&with_header(&[])), Err(Error::ArtifactDecode { .. })));
    // Every byte of a valid body changed in turn, and random bodies: anything but a crash.
    let bytes = encode(&program()).expect("encodes");
    let mut random = Philox::new(1, 0);
    for idx in HEADER_BYTES..bytes.len() {
        let mut body = bytes[HEADER_BYTES..].to_vec();
        body[idx - HEADER_BYTES] = random.next_u32() as u8;
        let _ = decode(&with_header(&body)).and_then(|program| program.validate());
        let body: Vec<u8> = (0..idx).map(|_| random.next_u32() as u8).collect();
        let _ = decode(&with_header(&body));
    }
    let mut longer = bytes[HEADER_BYTES..].to_vec();
    longer.push(0);
    let message = decode(&with_header(&longer)).expect_err("too long").to_string();
    assert_eq!(message, "compiled program does not decode: 1 bytes left over");
}

#[test]
fn other_files_are_named() {
    assert!(decode(b"").expect_err("empty").to_string().contains("found an empty file"));
    let message = decode(b"func @f() {}\n").expect_err("text").to_string();
    assert_eq!(message, "not a compiled nnc program: found `func @f(`, expected the .nnc signature");
}

#[test]
fn files_are_replaced_as_a_whole() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("model.nnc");
    let mut program = program();
    save(&program, &path).expect("writes");
    program.name = "other".to_owned();
    save(&program, &path).expect("replaces");
    assert_eq!(load(&path).expect("reads"), program);
    assert_eq!(fs::read_dir(folder.path()).expect("reads").count(), 1, "no temporary file is left");
    let missing = folder.path().join("missing/model.nnc");
    for error in [save(&program, &missing).expect_err("no folder"), load(&missing).expect_err("no file")] {
        assert!(matches!(&error, Error::Io { path, .. } if *path == missing), "{error}");
    }
}
