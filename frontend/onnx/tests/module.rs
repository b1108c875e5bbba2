//! Models as layers: what was trained is in the file that is saved.

use nnc_frontend::module::Module;
use nnc_ir::TensorData;
use nnc_onnx::OnnxModule;
use nnc_onnx::proto::SparseTensorProto;
use prost::Message;

use self::protos::{FLOAT, floats, graph, info, ints, model, node};

#[path = "build/protos.rs"]
mod protos;

#[test]
fn a_sparse_weight_that_was_trained_is_saved() {
    let mut graph = graph(vec![node("MatMul", &["x", "w"], &["y"])]);
    graph.output = vec![info("y", FLOAT, &[2])];
    graph.sparse_initializer.push(SparseTensorProto {
        values: Some(floats("w", &[1], |_| 5.0)),
        indices: Some(ints("", &[3])),
        dims: vec![4, 2],
    });
    let folder = tempfile::tempdir().expect("a folder");
    let (path, copy) = (folder.path().join("m.onnx"), folder.path().join("copy.onnx"));
    std::fs::write(&path, model(graph).encode_to_vec()).expect("written");

    let module = OnnxModule::load(&path).expect("sound");
    let mut state = module.state_dict();
    assert_eq!(state.get("w").map(TensorData::to_f32), Some(vec![0.0, 0.0, 0.0, 5.0, 0.0, 0.0, 0.0, 0.0]));
    module.save(&copy).expect("saved");
    assert_eq!(std::fs::read(&copy).ok(), std::fs::read(&path).ok(), "nothing was trained");

    state.insert("w", TensorData::from_f32(vec![4, 2], &[0.5; 8]));
    module.load_state_dict(&state).expect("the same name");
    module.save(&copy).expect("saved");
    assert_eq!(OnnxModule::load(&copy).expect("sound").state_dict(), state);
}
