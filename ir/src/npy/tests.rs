use std::io::Cursor;

use indexmap::IndexMap;

use super::*;
use crate::compare::{Allowance, assert_close};

/// A version 1 file with this header text and these elements.
fn file(header: &str, elements: &[u8]) -> Vec<u8> {
    let len = header.len() as u16;
    [b"\x93NUMPY\x01\x00".as_slice(), &len.to_le_bytes(), header.as_bytes(), elements].concat()
}

fn check(header: &str, elements: &[u8], expected: Result<TensorData, &str>) {
    match (read_npy(file(header, elements).as_slice()), expected) {
        (Ok(found), Ok(expected)) => assert_close(&expected, &found, Allowance::EXACT),
        (Err(error), Err(expected)) => assert_eq!(error.to_string(), expected),
        (found, expected) => panic!("found {found:?}, expected {expected:?}"),
    }
}

#[test]
fn every_element_type_survives_a_round_trip() {
    for dtype in DType::ALL {
        let data = TensorData::from_integers(dtype, vec![2, 3], [0, 1, 0, 1, 1, 0]);
        match write_npy(&data) {
            Ok(bytes) => {
                assert_eq!((bytes.len() - data.bytes.len()) % 64, 0);
                assert_eq!(read_npy(bytes.as_slice()).unwrap(), data);
            }
            Err(error) => {
                assert_eq!(dtype, DType::BF16);
                assert_eq!(error.to_string(), "NumPy has no element type bf16; convert to f32 first");
            }
        }
    }
    for shape in [vec![], vec![0], vec![3, 0, 2], vec![1; 64]] {
        let n_elements: usize = shape.iter().product();
        let data = TensorData::from_doubles(DType::F64, shape, vec![f64::NAN; n_elements]);
        assert_eq!(read_npy(write_npy(&data).unwrap().as_slice()).unwrap(), data);
    }
}

#[test]
fn the_text_is_what_numpy_writes() {
    let bytes = write_npy(&TensorData::from_f32(vec![2], &[1.0, 2.0])).unwrap();
    let header = "{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }";
    assert_eq!(&bytes[..10], b"\x93NUMPY\x01\x00\x76\x00");
    assert_eq!(std::str::from_utf8(&bytes[10..128]).unwrap(), format!("{header:<117}\n"));
    assert_eq!(&bytes[128..], [0, 0, 0x80, 0x3f, 0, 0, 0, 0x40]);
}

#[test]
fn headers_are_read_in_any_form() {
    let two = || Ok(TensorData::from_integers(DType::U8, vec![2], [7, 8]));
    check("{'descr': '|u1', 'fortran_order': False, 'shape': (2,), }", &[7, 8], two());
    check("{\"shape\":(2),\"descr\":\"u1\",\"fortran_order\":False}  \n", &[7, 8], two());
    check(" { 'shape' : ( 2L , ) , 'fortran_order' : True , 'descr' : '<u1' }", &[7, 8], two());
    let scalar = TensorData::from_f32(vec![], &[1.0]);
    check("{'descr': '<f4', 'fortran_order': False, 'shape': ()}", &[0, 0, 0x80, 0x3f], Ok(scalar.clone()));
    check("{'descr': '>f4', 'fortran_order': False, 'shape': ()}", &[0x3f, 0x80, 0, 0], Ok(scalar));
    let columns = TensorData::from_integers(DType::I8, vec![2, 3], [0, 2, 4, 1, 3, 5]);
    check("{'descr': '|i1', 'fortran_order': True, 'shape': (2, 3)}", &[0, 1, 2, 3, 4, 5], Ok(columns));

    let mut version3 = b"\x93NUMPY\x03\x00".to_vec();
    let header = "{'descr': '|u1', 'fortran_order': False, 'shape': (2,), }";
    version3.extend((header.len() as u32).to_le_bytes());
    version3.extend(header.as_bytes());
    version3.extend([7, 8]);
    assert_eq!(read_npy(version3.as_slice()).unwrap().to_i64(), [7, 8]);
}

#[test]
fn malformed_headers_are_named() {
    let with_shape = |shape: &str| format!("{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}}}");
    let with_descr = |descr: &str| format!("{{'descr': {descr}, 'fortran_order': False, 'shape': (1,)}}");
    let case = |header: &str, expected: &str| check(header, &[0; 4], Err(expected));
    case("", "malformed header at byte 0: expected `{`");
    case("{'descr': '<f4'", "malformed header at byte 15: expected `}`");
    case("{'descr': '<f4', }", "malformed header at byte 18: key `fortran_order` is missing");
    case("{'descr': '<f4', 'descr': '<f4'}", "malformed header at byte 17: key `descr` stands twice");
    case("{'order': 1}", "malformed header at byte 1: unknown key `order`");
    case("{'descr': '<f4}", "malformed header at byte 15: expected the end of the string");
    case("{'fortran_order': 1}", "malformed header at byte 18: expected True or False");
    case(&with_shape("(1,)}"), "malformed header at byte 55: expected nothing after the dictionary");
    case(&with_shape("(-1,)"), "malformed header at byte 51: expected an extent");
    case(&with_shape("(1 1)"), "malformed header at byte 53: expected `)`");
    case(
        &with_shape("(99999999999999999999,)"),
        "malformed header at byte 51: extent 99999999999999999999 is too large",
    );
    let supported = "expected one of ?, i1, i2, i4, i8, u1, u2, u4, u8, f2, f4, f8";
    for descr in ["<c8", "|V2", "<U4", "|O", "bfloat16", ""] {
        case(&with_descr(&format!("'{descr}'")), &format!("element type `{descr}` is not supported, {supported}"));
    }
    case(&with_descr("[('a', '<f4')]"), &format!("element type `structured` is not supported, {supported}"));
}

#[test]
fn files_that_lie_are_errors_and_take_no_memory() {
    let with_shape = |shape: &str| format!("{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}}}");
    check(&with_shape("(2,)"), &[0; 7], Err("the file ends after 7 bytes of elements, expected 8"));
    check(&with_shape("(2,)"), &[0; 9], Err("bytes follow the array of 8 bytes"));
    check(
        &with_shape("(1000000000000,)"),
        &[0; 4],
        Err("the file ends after 4 bytes of elements, expected 4000000000000"),
    );
    for shape in [vec![1 << 62, 4, 1], vec![1 << 40, 0, 1 << 40], vec![1 << 61]] {
        let text = with_shape(&format!("({},)", shape.iter().map(usize::to_string).collect::<Vec<_>>().join(",")));
        check(&text, &[], Err(&format!("shape {shape:?} has more elements than memory can hold")));
    }
    let bools = "{'descr': '|b1', 'fortran_order': False, 'shape': (3,)}";
    check(bools, &[0, 1, 2], Err("element 2 of a bool array is byte 2, expected 0 or 1"));

    let error = |bytes: &[u8]| read_npy(bytes).unwrap_err().to_string();
    assert_eq!(error(b""), "the file ends after 0 bytes of magic string and version, expected 8");
    assert_eq!(error(b"PK\x03\x04\x00\x00\x00\x00"), "the file does not start with the magic string of .npy files");
    assert_eq!(error(b"\x93NUMPY\x04\x00"), "the file has version 4.0 of the .npy format, expected 1.0, 2.0, or 3.0");
    assert_eq!(
        error(b"\x93NUMPY\x02\x00\xff\xff\xff\xff"),
        "malformed header at byte 0: the header has 4294967295 bytes, expected at most 65536"
    );
    assert_eq!(error(b"\x93NUMPY\x01\x00\xff\x00{"), "the file ends after 1 bytes of header, expected 255");
}

#[test]
fn strings_are_as_wide_as_the_longest() {
    let bytes = write_npy_strings(&[2], &["cat", "Füchse"]);
    let (header, elements) = bytes.split_at(bytes.len() - 2 * 6 * 4);
    assert!(header.len().is_multiple_of(64));
    let text = String::from_utf8_lossy(&header[10..]);
    assert_eq!(text.trim_end(), "{'descr': '<U6', 'fortran_order': False, 'shape': (2,), }");
    let codes: Vec<u32> = elements.chunks(4).map(|code| u32::from_le_bytes(code.try_into().unwrap())).collect();
    let text = |codes: &[u32]| codes.iter().filter_map(|&code| char::from_u32(code)).collect::<String>();
    assert_eq!((text(&codes[..6]).as_str(), text(&codes[6..]).as_str()), ("cat\0\0\0", "Füchse"));
    assert_eq!(
        error_of(&bytes),
        "element type `<U6` is not supported, expected one of ?, i1, i2, i4, i8, u1, u2, u4, u8, f2, f4, f8"
    );
}

fn error_of(bytes: &[u8]) -> String {
    read_npy(bytes).unwrap_err().to_string()
}

fn arrays() -> IndexMap<String, TensorData> {
    IndexMap::from([
        ("x".to_string(), TensorData::from_f32(vec![2, 2], &[1.0, 2.0, 3.0, 4.0])),
        ("layer.weight".to_string(), TensorData::from_i64(vec![3], &[-1, 0, 1])),
        ("dir/flag".to_string(), TensorData::from_integers(DType::Bool, vec![], [1])),
    ])
}

#[test]
fn archives_keep_names_order_and_bytes() {
    let bytes = write_npz(&arrays()).unwrap();
    assert_eq!(bytes, write_npz(&arrays()).unwrap());
    let found = read_npz(Cursor::new(&bytes)).unwrap();
    assert_eq!(found, arrays());
    assert_eq!(found.keys().collect::<Vec<_>>(), ["x", "layer.weight", "dir/flag"]);
    assert!(read_npz(Cursor::new(write_npz(&IndexMap::new()).unwrap())).unwrap().is_empty());
}

#[test]
fn deflated_archives_are_read() {
    let options = zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Deflated);
    let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
    let zeros = TensorData::from_f32(vec![1000, 1000], &vec![0.0; 1_000_000]);
    writer.start_file("zeros.npy", options).unwrap();
    io::Write::write_all(&mut writer, &write_npy(&zeros).unwrap()).unwrap();
    let bytes = writer.finish().unwrap().into_inner();
    assert!(bytes.len() < 10_000);
    assert_eq!(read_npz(Cursor::new(bytes)).unwrap()["zeros"], zeros);
}

#[test]
fn archives_with_other_members_are_refused() {
    let with_member = |name: &str, content: &[u8]| {
        let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
        writer.start_file(name, zip::write::SimpleFileOptions::default()).unwrap();
        io::Write::write_all(&mut writer, content).unwrap();
        read_npz(Cursor::new(writer.finish().unwrap().into_inner())).unwrap_err().to_string()
    };
    assert_eq!(with_member("readme.txt", b"hello"), "archive member `readme.txt` is not an .npy file");
    assert_eq!(
        with_member("x.npy", b"hello"),
        "array `x`: the file ends after 5 bytes of magic string and version, expected 8"
    );
    assert!(read_npz(Cursor::new(b"not a zip")).unwrap_err().to_string().starts_with("unreadable archive: "));
    let halves = IndexMap::from([("h".to_string(), TensorData::from_doubles(DType::BF16, vec![1], [1.0]))]);
    let error = write_npz(&halves).unwrap_err().to_string();
    assert_eq!(error, "array `h`: NumPy has no element type bf16; convert to f32 first");
}

#[test]
fn damaged_files_never_panic() {
    let npy = write_npy(&TensorData::from_f32(vec![2, 2], &[1.0, 2.0, 3.0, 4.0])).unwrap();
    let npz = write_npz(&arrays()).unwrap();
    let mut counter = 0u32;
    let mut random = |bound: usize| {
        counter += 1;
        crate::interp::philox4x32([counter, 0, 0, 0], [1, 2])[0] as usize % bound
    };
    for _ in 0..3000 {
        for original in [&npy, &npz] {
            let mut bytes = original.clone();
            for _ in 0..=random(3) {
                let at = random(bytes.len());
                bytes[at] = random(256) as u8;
            }
            if random(4) == 0 {
                bytes.truncate(random(bytes.len()));
            }
            // Whatever comes out, it comes out.
            let _ = (read_npy(bytes.as_slice()), read_npz(Cursor::new(bytes)));
        }
    }
}

#[test]
fn faults_name_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.npy");
    let data = TensorData::from_f32(vec![1], &[1.0]);
    save_npy(&path, &data).unwrap();
    assert_eq!(load_npy(&path).unwrap(), data);
    std::fs::write(&path, b"\x93NUMPY").unwrap();
    let fault = load_npy(&path).unwrap_err().to_string();
    assert_eq!(
        fault,
        format!("{}: the file ends after 6 bytes of magic string and version, expected 8", path.display())
    );
    let path = dir.path().join("a.npz");
    save_npz(&path, &arrays()).unwrap();
    assert_eq!(load_npz(&path).unwrap(), arrays());
    assert!(load_npz(&dir.path().join("missing.npz")).unwrap_err().to_string().contains("missing.npz: "));
}
