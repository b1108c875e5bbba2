//! Whether what a program says of its model's inputs and outputs fits its own.

use super::{fault, has_bytes, unique};
use crate::error::Error;
use crate::program::{Bound, ElemType, Port, Program};

impl Program {
    pub(super) fn check_ports(&self) -> Result<(), Error> {
        let ports = &self.ports;
        let inputs = ports.inputs.iter().map(|port| &port.name);
        unique("input of the model", inputs.chain(ports.fixed.iter().map(|(name, _)| name)))?;
        for (idx, (name, value)) in ports.fixed.iter().enumerate() {
            has_bytes(|| format!("fixed input {idx} (`{name}`)"), value.data.len(), &value.spec)?;
        }
        for (kind, ports, count) in
            [("input", &ports.inputs, self.inputs.len()), ("output", &ports.outputs, self.outputs.len())]
        {
            for (idx, port) in ports.iter().enumerate() {
                let place = || format!("{kind} {idx} of the model (`{}`)", port.name);
                let tensors = &port.tensors;
                if tensors.start > tensors.end || tensors.end as usize > count {
                    return Err(fault(place, format!("{tensors:?}"), format!("some of {count} {kind}s")));
                }
                match port.bound {
                    Some(_) if kind == "input" => {
                        return Err(fault(place, "an extent that depends on data".into(), "a fixed one".into()));
                    }
                    Some(bound) => self.check_bound(place, port, bound)?,
                    None => {}
                }
            }
        }
        Ok(())
    }

    fn check_bound(&self, place: impl Fn() -> String, port: &Port, bound: Bound) -> Result<(), Error> {
        let tensors = &self.outputs[port.tensors.start as usize..port.tensors.end as usize];
        if let Some(output) = tensors.iter().find(|output| bound.axis as usize >= output.spec.shape.len()) {
            return Err(fault(place, format!("dimension {} of {}", bound.axis, output.spec), "one it has".into()));
        }
        match self.outputs.get(bound.count as usize) {
            Some(count) if count.spec.elem == ElemType::I64 && count.spec.shape.is_empty() => Ok(()),
            Some(count) => Err(fault(place, format!("a count of type {}", count.spec), "i64[]".into())),
            None => {
                let expected = format!("one of {} outputs", self.outputs.len());
                Err(fault(place, format!("a count in output {}", bound.count), expected))
            }
        }
    }
}
