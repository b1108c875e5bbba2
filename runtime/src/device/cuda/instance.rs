//! One set of tensors on the GPU and the graph of launches over it.

use std::ffi::c_void;
use std::sync::Arc;

use cudarc::driver::sys::{CUdeviceptr, CUevent_flags, CUgraphInstantiate_flags, CUstreamCaptureMode};
use cudarc::driver::{CudaGraph, CudaStream, result};

use super::memory::{Block, Mirror};
use super::{Loaded, failed};
use crate::device::DeviceInstance;
use crate::error::Error;
use crate::profile::LaunchTime;
use crate::program::{InputRole, Place};

/// Tensors of a program on the GPU. The fields drop in order: what uses the stream and the block before them.
pub(super) struct CudaInstance {
    /// All launches; `None` for a program without any.
    graph: Option<CudaGraph>,
    inputs: Vec<Mirror>,
    /// Outputs that are not where an input is.
    outputs: Vec<Option<Mirror>>,
    /// Device addresses of each launch's arguments.
    args: Vec<Vec<CUdeviceptr>>,
    /// What all addresses lead into.
    _block: Block,
    bytes: usize,
    stream: Arc<CudaStream>,
    loaded: Arc<Loaded>,
}

// SAFETY: the handles and cells are used by one thread at a time, whichever has the instance, and the context is made
// current on that thread before every call to the driver.
unsafe impl Send for CudaInstance {}

impl CudaInstance {
    pub(super) fn new(loaded: Arc<Loaded>) -> Result<CudaInstance, Error> {
        let (program, context) = (&*loaded.program, &loaded.context);
        let layout = program.layout()?;
        let stream = context.new_stream().map_err(failed("create a stream"))?;
        let block = Block::zeroed(&stream, layout.total)?;
        for (constant, &offset) in program.constants.iter().zip(&layout.constants) {
            // SAFETY: the layout gives the constant its bytes; the program stays until the stream is waited for below.
            unsafe { block.write(&stream, offset, &constant.data)? };
        }
        let mut inputs = Vec::with_capacity(program.inputs.len());
        for (input, &offset) in program.inputs.iter().zip(&layout.inputs) {
            if let Some(initial) = &input.initial {
                // SAFETY: as above.
                unsafe { block.write(&stream, offset, initial)? };
            }
            let mirror = Mirror::new(block.at(offset), input.spec.bytes());
            if input.role == InputRole::Data {
                // Written before every run, when nothing may be allocated.
                mirror.allocate(context)?;
            }
            inputs.push(mirror);
        }
        let address = |place| block.at(layout.offset(place).expect("validation checked all places"));
        let mirror = |output: &crate::program::Output| match output.place {
            Place::Input(_) => None,
            place => Some(Mirror::new(address(place), output.spec.bytes())),
        };
        let outputs: Vec<_> = program.outputs.iter().map(mirror).collect();
        for mirror in outputs.iter().flatten() {
            mirror.allocate(context)?;
        }
        let args =
            program.launches.iter().map(|launch| launch.args.iter().map(|&arg| address(arg)).collect()).collect();
        stream.synchronize().map_err(failed("copy to the GPU"))?;
        let bytes = layout.total;
        let mut instance = CudaInstance { graph: None, inputs, outputs, args, _block: block, bytes, stream, loaded };
        instance.capture()?;
        Ok(instance)
    }

    /// Records all launches as one graph.
    fn capture(&mut self) -> Result<(), Error> {
        let n_launches = self.loaded.program.launches.len();
        if n_launches == 0 {
            return Ok(());
        }
        let mode = CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
        self.stream.begin_capture(mode).map_err(failed("record the launches"))?;
        let launched = (0..n_launches).try_for_each(|launch_idx| self.launch(launch_idx));
        // A capture must end even if a launch failed; that failure is the one to report.
        let graph = self.stream.end_capture(CUgraphInstantiate_flags(0));
        launched?;
        self.graph = graph.map_err(failed("record the launches"))?;
        if let Some(graph) = &self.graph {
            graph.upload().map_err(failed("upload the launches"))?;
            self.stream.synchronize().map_err(failed("upload the launches"))?;
        }
        Ok(())
    }

    /// Puts one launch on the stream.
    fn launch(&self, launch_idx: usize) -> Result<(), Error> {
        let program = &*self.loaded.program;
        let launch = &program.launches[launch_idx];
        let [block_x, block_y, block_z] = program.kernels[launch.kernel as usize].block;
        let [grid_x, grid_y, grid_z] = launch.grid;
        let kernel = self.loaded.kernels[launch.kernel as usize];
        let mut params: Vec<_> = self.args[launch_idx]
            .iter()
            .map(|address| std::ptr::from_ref(address).cast_mut().cast::<c_void>())
            .collect();
        // SAFETY: each parameter points to a device address, which is what the kernels take; the driver copies them
        // before it returns. The addresses lead into the block, which lives as long as the stream.
        let launched = unsafe {
            result::launch_kernel(
                kernel.0,
                (grid_x, grid_y, grid_z),
                (block_x, block_y, block_z),
                // Shared memory is declared in the kernels.
                0,
                self.stream.cu_stream(),
                &mut params,
            )
        };
        launched.map_err(failed("launch a kernel"))
    }

    /// Uploads what the host has written.
    fn upload(&mut self) -> Result<(), Error> {
        self.loaded.context.bind_to_thread().map_err(failed("use the GPU"))?;
        for input in &mut self.inputs {
            // SAFETY: every caller goes on to `finish`, which waits, before it gives the host's copy to anyone.
            unsafe { input.upload(self.stream.cu_stream())? };
        }
        Ok(())
    }

    /// Waits for the stream and forgets the host's copies of everything that launches write.
    fn finish(&mut self) -> Result<(), Error> {
        self.stream.synchronize().map_err(failed("run the program"))?;
        for (output, mirror) in self.loaded.program.outputs.iter().zip(&mut self.outputs) {
            match (output.place, mirror) {
                (Place::Input(idx), _) => self.inputs[idx as usize].invalidate(),
                (_, Some(mirror)) => mirror.invalidate(),
                (_, None) => {}
            }
        }
        Ok(())
    }
}

impl Drop for CudaInstance {
    fn drop(&mut self) {
        // Nothing may be in flight when memory goes. An error was or will be someone else's to report.
        let _ = self.stream.synchronize();
    }
}

impl DeviceInstance for CudaInstance {
    fn input(&self, idx: usize) -> Result<&[u8], Error> {
        self.inputs[idx].bytes(&self.loaded.context)
    }

    fn input_mut(&mut self, idx: usize) -> Result<&mut [u8], Error> {
        self.inputs[idx].bytes_mut(&self.loaded.context)
    }

    fn output(&self, idx: usize) -> Result<&[u8], Error> {
        match (&self.outputs[idx], self.loaded.program.outputs[idx].place) {
            (Some(mirror), _) => mirror.bytes(&self.loaded.context),
            (None, Place::Input(idx)) => self.inputs[idx as usize].bytes(&self.loaded.context),
            (None, _) => unreachable!("outputs elsewhere than in an input have a mirror"),
        }
    }

    fn run(&mut self) -> Result<(), Error> {
        let uploaded = self.upload();
        let launched = match &self.graph {
            Some(graph) if uploaded.is_ok() => graph.launch().map_err(failed("run the program")),
            _ => Ok(()),
        };
        // Waits whatever happened, so that nothing is in flight when the caller goes on.
        self.finish().and(uploaded).and(launched)
    }

    fn profile_run(&mut self) -> Result<Vec<LaunchTime>, Error> {
        const ACTION: &str = "time a launch";
        let uploaded = self.upload();
        let record = || self.stream.record_event(Some(CUevent_flags::CU_EVENT_DEFAULT)).map_err(failed(ACTION));
        let launch_all = || {
            let mut events = vec![record()?];
            for launch_idx in 0..self.args.len() {
                self.launch(launch_idx)?;
                events.push(record()?);
            }
            Ok(events)
        };
        let events = uploaded.and_then(|()| launch_all());
        // As in `run`.
        self.finish()?;
        let events = events?;
        let mut times = Vec::with_capacity(self.args.len());
        for (launch, pair) in self.loaded.program.launches.iter().zip(events.windows(2)) {
            let nanoseconds = |ms: f32| (f64::from(ms) * 1e6) as u64;
            let start = nanoseconds(events[0].elapsed_ms(&pair[0]).map_err(failed(ACTION))?);
            let taken = nanoseconds(pair[0].elapsed_ms(&pair[1]).map_err(failed(ACTION))?);
            times.push(LaunchTime::of(&self.loaded.program, launch, start, taken));
        }
        Ok(times)
    }

    fn tensor_bytes(&self) -> u64 {
        self.bytes as u64
    }
}
