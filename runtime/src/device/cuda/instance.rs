//! One set of tensors on the GPU and the launches over it.

use std::cell::RefCell;
use std::ffi::c_void;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use cudarc::driver::sys::{CUdeviceptr, CUevent_flags, CUgraphInstantiate_flags, CUstreamCaptureMode};
use cudarc::driver::{CudaEvent, CudaGraph, CudaStream, result};

use super::memory::{Block, Mirror};
use super::record::Action;
use super::{Loaded, failed};
use crate::device::DeviceInstance;
use crate::error::Error;
use crate::layout::Layout;
use crate::profile::{LaunchTime, Profile};
use crate::program::{Address, InputRole, Iterations, Place, Program, Visitor, walk, walk_part};

/// Tensors of a program on the GPU. The fields drop in order: what uses the stream and the block before them.
pub(super) struct CudaInstance {
    /// What a run does.
    actions: Vec<Action>,
    inputs: Vec<Mirror>,
    /// Outputs that are not where an input is.
    outputs: Vec<Option<Mirror>>,
    /// Device addresses of one launch's arguments, and pointers to them, as the driver takes them. Room for any launch.
    args: RefCell<(Vec<CUdeviceptr>, Vec<*mut c_void>)>,
    /// What all addresses lead into.
    block: Block,
    layout: Layout,
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
        let n_args = program.launches.iter().map(|launch| launch.args.len()).max().unwrap_or(0);
        let args = RefCell::new((Vec::with_capacity(n_args), Vec::with_capacity(n_args)));
        stream.synchronize().map_err(failed("copy to the GPU"))?;
        let bytes = layout.total;
        let actions = Vec::new();
        let mut instance = CudaInstance { actions, inputs, outputs, args, block, layout, bytes, stream, loaded };
        instance.actions = instance.record(0..instance.program().steps.len(), 0)?;
        Ok(instance)
    }

    /// The program.
    pub(super) fn program(&self) -> &Program {
        &self.loaded.program
    }

    /// Records the steps at `positions`, in `depth` loops that no argument depends on, as one graph.
    pub(super) fn capture(&self, positions: Range<usize>, depth: usize) -> Result<Option<CudaGraph>, Error> {
        let mode = CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
        self.stream.begin_capture(mode).map_err(failed("record the launches"))?;
        let mut iterations = Iterations::default();
        let launched = walk_part(&self.program().steps, positions, depth, &mut iterations, &mut Recorder(self));
        // A capture must end even if a launch failed; that failure is the one to report.
        let graph = self.stream.end_capture(CUgraphInstantiate_flags(0));
        launched?;
        let graph = graph.map_err(failed("record the launches"))?;
        if let Some(graph) = &graph {
            graph.upload().map_err(failed("upload the launches"))?;
            self.stream.synchronize().map_err(failed("upload the launches"))?;
        }
        Ok(graph)
    }

    /// Device address of an argument.
    fn address(&self, address: &Address, iterations: &Iterations) -> CUdeviceptr {
        let (place, offset) = address.resolve(iterations);
        let start = self.block.at(self.layout.offset(place).expect("validation checked all places"));
        start.wrapping_add_signed(offset)
    }

    /// Puts one launch on the stream.
    pub(super) fn launch(&self, launch_idx: usize, iterations: &Iterations) -> Result<(), Error> {
        let launch = &self.program().launches[launch_idx];
        let [block_x, block_y, block_z] = self.program().kernels[launch.kernel as usize].block;
        let [grid_x, grid_y, grid_z] = launch.grid;
        let kernel = self.loaded.kernels[launch.kernel as usize];
        let (addresses, params) = &mut *self.args.borrow_mut();
        addresses.clear();
        addresses.extend(launch.args.iter().map(|address| self.address(address, iterations)));
        params.clear();
        params.extend(addresses.iter().map(|address| std::ptr::from_ref(address).cast_mut().cast::<c_void>()));
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
                params,
            )
        };
        launched.map_err(failed("launch a kernel"))
    }

    /// Waits for the launches so far and reads a condition.
    pub(super) fn condition(&self, condition: &Address, iterations: &Iterations) -> Result<bool, Error> {
        self.stream.synchronize().map_err(failed("run the program"))?;
        let mut byte = [0_u8];
        // SAFETY: validation found a byte there, and the GPU is idle.
        let copied = unsafe { result::memcpy_dtoh_sync(&mut byte, self.address(condition, iterations)) };
        copied.map_err(failed("read a condition"))?;
        Ok(byte[0] != 0)
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
        let launched = match uploaded {
            Ok(()) => self.act(&self.actions, &mut Iterations::default()),
            Err(_) => Ok(()),
        };
        // Waits whatever happened, so that nothing is in flight when the caller goes on.
        self.finish().and(uploaded).and(launched)
    }

    fn profile_run(&mut self) -> Result<Vec<LaunchTime>, Error> {
        let uploaded = self.upload();
        let program = Arc::clone(&self.loaded.program);
        let timed = uploaded.and_then(|()| {
            let mut timer = Timer { instance: self, begin: self.event()?, launches: Vec::new() };
            walk(&program.steps, &mut timer)?;
            Ok(timer)
        });
        // As in `run`.
        let finished = self.stream.synchronize().map_err(failed("run the program"));
        let times = timed.and_then(|timer| timer.finish(&program));
        self.finish()?;
        finished?;
        times
    }

    fn tensor_bytes(&self) -> u64 {
        self.bytes as u64
    }
}

/// Puts launches on the stream.
struct Recorder<'i>(&'i CudaInstance);

impl Visitor for Recorder<'_> {
    type Stop = Error;

    fn launch(&mut self, launch: usize, iterations: &Iterations) -> Result<(), Error> {
        self.0.launch(launch, iterations)
    }

    fn condition(&mut self, _: usize, condition: &Address, iterations: &Iterations) -> Result<bool, Error> {
        self.0.condition(condition, iterations)
    }
}

/// Runs launches one by one, with an event before and after each.
struct Timer<'i> {
    instance: &'i CudaInstance,
    begin: CudaEvent,
    launches: Vec<(usize, CudaEvent, CudaEvent)>,
}

impl CudaInstance {
    fn event(&self) -> Result<CudaEvent, Error> {
        self.stream.record_event(Some(CUevent_flags::CU_EVENT_DEFAULT)).map_err(failed("time a launch"))
    }
}

impl Visitor for Timer<'_> {
    type Stop = Error;

    fn launch(&mut self, launch: usize, iterations: &Iterations) -> Result<(), Error> {
        let start = self.instance.event()?;
        self.instance.launch(launch, iterations)?;
        self.launches.push((launch, start, self.instance.event()?));
        Ok(())
    }

    fn condition(&mut self, _: usize, condition: &Address, iterations: &Iterations) -> Result<bool, Error> {
        self.instance.condition(condition, iterations)
    }
}

impl Timer<'_> {
    /// The times. The stream is done.
    fn finish(self, program: &Program) -> Result<Vec<LaunchTime>, Error> {
        let mut profile = Profile::new(program);
        for (launch, start, end) in &self.launches {
            let since_begin = |event: &CudaEvent| -> Result<Duration, Error> {
                let ms = self.begin.elapsed_ms(event).map_err(failed("time a launch"))?;
                Ok(Duration::from_secs_f64(f64::from(ms.max(0.0)) * 1e-3))
            };
            let start_at = since_begin(start)?;
            let ms = start.elapsed_ms(end).map_err(failed("time a launch"))?;
            profile.add(*launch, start_at, start_at + Duration::from_secs_f64(f64::from(ms.max(0.0)) * 1e-3));
        }
        Ok(profile.finish())
    }
}
