//! NVIDIA's assembler, where this machine has it: the last judge of PTX short of a GPU.
//!
//! nnc does not need it: the driver assembles PTX when a program is loaded. Tests use it to see that PTX assembles, and
//! what it costs in registers and memory.

use std::env;
use std::ffi::OsStr;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The environment variable that names the program.
pub const VARIABLE: &str = "NNC_PTXAS";

/// The assembler.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ptxas {
    path: PathBuf,
    arches: Vec<String>,
}

/// What the assembler says about one kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// The kernel's symbol.
    pub kernel: String,
    /// Registers of a thread.
    pub registers: u32,
    /// Bytes of local memory of a thread: arrays that did not become registers.
    pub stack_bytes: u32,
    /// Bytes of registers a thread stores to local memory for want of room.
    pub spill_stores: u32,
    /// Bytes it loads back.
    pub spill_loads: u32,
    /// Bytes of static shared memory of a block.
    pub shared_bytes: u32,
}

impl Ptxas {
    /// The program that `NNC_PTXAS` names, or else `.venv/bin/ptxas` in the current folder or one above it, or else
    /// `ptxas` in the search path.
    pub fn find() -> Option<Self> {
        if let Some(path) = env::var_os(VARIABLE) {
            return Self::at(Path::new(&path));
        }
        let here = env::current_dir().ok()?;
        let installed = here.ancestors().map(|folder| folder.join(".venv/bin/ptxas")).find(|path| path.exists());
        installed.and_then(|path| Self::at(&path)).or_else(|| Self::at(Path::new("ptxas")))
    }

    fn at(path: &Path) -> Option<Self> {
        let help = Command::new(path).arg("--help").output().ok().filter(|output| output.status.success())?;
        let help = String::from_utf8_lossy(&help.stdout);
        let names = help.split('\'').filter(|name| name.starts_with("sm_"));
        let mut arches: Vec<String> = names.map(str::to_string).collect();
        arches.sort_unstable();
        arches.dedup();
        Some(Self { path: path.to_path_buf(), arches })
    }

    /// Whether it assembles for an architecture such as `sm_90`.
    pub fn knows(&self, arch: &str) -> bool {
        self.arches.iter().any(|known| known == arch)
    }

    /// Assembles a module and gives the usage of each kernel, in the order of their names.
    ///
    /// # Errors
    /// The assembler's own messages, or that it cannot be run.
    pub fn assemble(&self, ptx: &str, arch: &str) -> Result<Vec<Usage>, String> {
        let cannot_run = |error: std::io::Error| format!("cannot run {}: {error}", self.path.display());
        let mut child = Command::new(&self.path)
            .args(["-v", "-arch", arch, "-o"].map(OsStr::new))
            .args([OsStr::new("/dev/null"), OsStr::new("-")])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(cannot_run)?;
        // It reads all of its input before it says anything, so writing first cannot block both.
        let written = child.stdin.take().expect("the input is a pipe").write_all(ptx.as_bytes());
        let output = child.wait_with_output().map_err(cannot_run)?;
        let messages = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        if !output.status.success() {
            return Err(messages);
        }
        written.map_err(cannot_run)?;
        let mut usages = parse(&messages);
        usages.sort_by(|lhs, rhs| lhs.kernel.cmp(&rhs.kernel));
        Ok(usages)
    }
}

/// Reads the lines `-v` prints.
fn parse(messages: &str) -> Vec<Usage> {
    let mut usages = Vec::new();
    for line in messages.lines() {
        if let Some((_, rest)) = line.split_once("Compiling entry function '") {
            let kernel = rest.split('\'').next().unwrap_or_default().to_string();
            usages.push(Usage { kernel, ..Usage::default() });
        }
        let Some(usage) = usages.last_mut() else { continue };
        let body = line.rsplit(" : ").next().unwrap_or(line);
        for part in body.split(',').map(str::trim) {
            let mut words = part.trim_start_matches("Used ").splitn(2, ' ');
            let (Some(Ok(number)), Some(what)) = (words.next().map(str::parse), words.next()) else { continue };
            match what {
                "registers" => usage.registers = number,
                "bytes stack frame" => usage.stack_bytes = number,
                "bytes spill stores" => usage.spill_stores = number,
                "bytes spill loads" => usage.spill_loads = number,
                "bytes smem" => usage.shared_bytes = number,
                _ => {}
            }
        }
    }
    usages
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_ptxas_prints() {
        let messages = "\
ptxas info    : 0 bytes gmem
ptxas info    : Compiling entry function 'k0_add' for 'sm_90'
ptxas info    : Function properties for k0_add
    16 bytes stack frame, 8 bytes spill stores, 4 bytes spill loads
ptxas info    : Used 13 registers, used 1 barriers, 256 bytes smem, 368 bytes cmem[0]
ptxas info    : Compile time = 6.635 ms
";
        let usage = Usage {
            kernel: "k0_add".to_string(),
            registers: 13,
            stack_bytes: 16,
            spill_stores: 8,
            spill_loads: 4,
            shared_bytes: 256,
        };
        assert_eq!(parse(messages), [usage]);
    }
}
