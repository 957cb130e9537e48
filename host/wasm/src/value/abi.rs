//! Parameter and result types for wasmtime's typed calls whose shape is only known at run time.
//!
//! `TypedFunc` wants Rust types whose layout is a constant. The canonical ABI has only a few *ways* to pass values, though:
//! parameters as up to 16 core values or as one pointer, a result as one core value or as one pointer. Each way is a type
//! here, and within a way the component's own type information says what to write and read.

use std::mem::MaybeUninit;

use serde_json::Value;
use toolpost_core::catalog::shape::{Field, Shape};
use wasmtime::component::__internal::{CanonicalAbiInfo, InstanceType, InterfaceType, LiftContext, LowerContext};
use wasmtime::component::{ComponentNamedList, ComponentType, Func, Lift, Lower, TypedFunc};
use wasmtime::{Result, Store, ValRaw};

use super::layout::Layout;
use super::{lift, lower};

/// As many core values stand for parameters before they go through memory (`MAX_FLAT_PARAMS` of the canonical ABI).
const FLAT_MAX: usize = 16;

/// The ways in which the parameters and the result of one function are passed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Signature {
    parameters: Parameters,
    result: Answer,
}

#[derive(Clone, Copy, Debug)]
enum Parameters {
    Flat,
    /// Through memory, in at most that many bytes.
    Small,
    Medium,
    Large,
}

#[derive(Clone, Copy, Debug)]
enum Answer {
    Flat,
    Memory,
}

const SMALL: u32 = 256;
const MEDIUM: u32 = 4 << 10;
const LARGE: u32 = 64 << 10;

impl Signature {
    /// The ways for these types; nothing when the parameters are larger than any way allows.
    pub(crate) fn of(parameters: &[Field], result: Option<&Shape>) -> Option<Self> {
        let layout = Layout::fields(parameters);
        let parameters = match layout {
            Layout { flat, .. } if flat as usize <= FLAT_MAX => Parameters::Flat,
            Layout { size: ..=SMALL, .. } => Parameters::Small,
            Layout { size: ..=MEDIUM, .. } => Parameters::Medium,
            Layout { size: ..=LARGE, .. } => Parameters::Large,
            _ => return None,
        };
        let flat = result.is_none_or(|result| Layout::of(result).flat <= 1);
        Some(Signature { parameters, result: if flat { Answer::Flat } else { Answer::Memory } })
    }
}

/// Calls a function with canonical arguments; the result comes as JSON, `null` where there is none.
///
/// # Cancel safety
/// A dropped call leaves the store unusable: drop it too.
pub(crate) async fn call<T: Send>(
    store: &mut Store<T>,
    func: Func,
    signature: Signature,
    arguments: &Value,
) -> Result<Value> {
    match signature.parameters {
        Parameters::Flat => typed(store, func, signature.result, Flat(arguments)).await,
        Parameters::Small => typed(store, func, signature.result, InMemory::<SMALL>(arguments)).await,
        Parameters::Medium => typed(store, func, signature.result, InMemory::<MEDIUM>(arguments)).await,
        Parameters::Large => typed(store, func, signature.result, InMemory::<LARGE>(arguments)).await,
    }
}

async fn typed<T: Send, P>(store: &mut Store<T>, func: Func, result: Answer, arguments: P) -> Result<Value>
where
    P: ComponentNamedList + Lower,
{
    match result {
        Answer::Flat => {
            // SAFETY: `Signature::of` chose both ways from the function's own type; the rest is checked value by value,
            // against the component's types, while lowering and lifting.
            let func = unsafe { TypedFunc::<P, FlatAnswer>::new_unchecked(func) };
            Ok(func.call_async(store, arguments).await?.0)
        }
        Answer::Memory => {
            // SAFETY: as above.
            let func = unsafe { TypedFunc::<P, MemoryAnswer>::new_unchecked(func) };
            Ok(func.call_async(store, arguments).await?.0)
        }
    }
}

const fn abi(size: u32, align: u32, flat_count: Option<u8>) -> CanonicalAbiInfo {
    CanonicalAbiInfo { size32: size, align32: align, size64: size, align64: align, flat_count }
}

/// Parameters as core values.
struct Flat<'a>(&'a Value);

/// Parameters in memory, in at most `SIZE` bytes. The guest is asked for the whole room; what is left over stays unused.
struct InMemory<'a, const SIZE: u32>(&'a Value);

/// A result as one core value, or none.
struct FlatAnswer(Value);

/// A result in memory.
struct MemoryAnswer(Value);

// SAFETY: a function of at most 16 flat parameters reads only as many of the 16 core values, all of which are written.
unsafe impl ComponentType for Flat<'_> {
    type Lower = [ValRaw; FLAT_MAX];
    const ABI: CanonicalAbiInfo = abi(0, 1, Some(FLAT_MAX as u8));

    fn typecheck(_: &InterfaceType, _: &InstanceType<'_>) -> Result<()> {
        Ok(())
    }
}

// SAFETY: `linear_lower_to_flat` writes all of `dst`; the other way is never taken, because `flat_count` is 16.
unsafe impl Lower for Flat<'_> {
    fn linear_lower_to_flat<T>(
        &self,
        cx: &mut LowerContext<'_, T>,
        ty: InterfaceType,
        dst: &mut MaybeUninit<Self::Lower>,
    ) -> Result<()> {
        let mut slots = [ValRaw::u64(0); FLAT_MAX];
        lower::parameters_to_flat(cx, ty, self.0, &mut slots)?;
        dst.write(slots);
        Ok(())
    }

    fn linear_lower_to_memory<T>(&self, _: &mut LowerContext<'_, T>, _: InterfaceType, _: usize) -> Result<()> {
        Err(lower::mismatch("flat parameters, not parameters in memory"))
    }
}

// SAFETY: marks a list of parameters; `Flat` is one.
unsafe impl ComponentNamedList for Flat<'_> {}

// SAFETY: more than 16 flat values make wasmtime ask the guest for `SIZE` bytes, aligned for any type, and pass one pointer.
unsafe impl<const SIZE: u32> ComponentType for InMemory<'_, SIZE> {
    type Lower = [ValRaw; FLAT_MAX + 1];
    const ABI: CanonicalAbiInfo = abi(SIZE, 8, Some(FLAT_MAX as u8 + 1));

    fn typecheck(_: &InterfaceType, _: &InstanceType<'_>) -> Result<()> {
        Ok(())
    }
}

// SAFETY: `Signature::of` has seen to it that the parameters fit in `SIZE` bytes, and every write is checked against the
// bounds of the guest's memory; the other way is never taken, because `flat_count` is above 16.
unsafe impl<const SIZE: u32> Lower for InMemory<'_, SIZE> {
    fn linear_lower_to_flat<T>(
        &self,
        _: &mut LowerContext<'_, T>,
        _: InterfaceType,
        _: &mut MaybeUninit<Self::Lower>,
    ) -> Result<()> {
        Err(lower::mismatch("parameters in memory, not flat parameters"))
    }

    fn linear_lower_to_memory<T>(&self, cx: &mut LowerContext<'_, T>, ty: InterfaceType, offset: usize) -> Result<()> {
        lower::parameters_to_memory(cx, ty, self.0, offset)
    }
}

// SAFETY: marks a list of parameters; `InMemory` is one.
unsafe impl<const SIZE: u32> ComponentNamedList for InMemory<'_, SIZE> {}

// SAFETY: a function with at most one flat result writes at most one core value; the slot was initialized with the
// parameters before, so it can be read also when there is no result.
unsafe impl ComponentType for FlatAnswer {
    type Lower = [ValRaw; 1];
    const ABI: CanonicalAbiInfo = abi(8, 8, Some(1));

    fn typecheck(_: &InterfaceType, _: &InstanceType<'_>) -> Result<()> {
        Ok(())
    }
}

// SAFETY: reads one core value by the type that the component itself gives for it.
unsafe impl Lift for FlatAnswer {
    fn linear_lift_from_flat(cx: &mut LiftContext<'_>, ty: InterfaceType, src: &Self::Lower) -> Result<Self> {
        lift::result_from_flat(cx, ty, src).map(FlatAnswer)
    }

    fn linear_lift_from_memory(_: &mut LiftContext<'_>, _: InterfaceType, _: &[u8]) -> Result<Self> {
        Err(lower::mismatch("a flat result, not a result in memory"))
    }
}

// SAFETY: marks a list of results; `FlatAnswer` is one.
unsafe impl ComponentNamedList for FlatAnswer {}

// SAFETY: more than one flat result makes wasmtime take the core value for a pointer into the guest's memory. With a size
// of 0 it hands out an empty slice at that place, from which `lift` finds the real bytes, checking their bounds.
unsafe impl ComponentType for MemoryAnswer {
    type Lower = [ValRaw; 2];
    const ABI: CanonicalAbiInfo = abi(0, 1, Some(2));

    fn typecheck(_: &InterfaceType, _: &InstanceType<'_>) -> Result<()> {
        Ok(())
    }
}

// SAFETY: reads within the bounds of the guest's memory only, by the type that the component itself gives for it.
unsafe impl Lift for MemoryAnswer {
    fn linear_lift_from_flat(_: &mut LiftContext<'_>, _: InterfaceType, _: &Self::Lower) -> Result<Self> {
        Err(lower::mismatch("a result in memory, not a flat result"))
    }

    fn linear_lift_from_memory(cx: &mut LiftContext<'_>, ty: InterfaceType, place: &[u8]) -> Result<Self> {
        lift::result_from_memory(cx, ty, place).map(MemoryAnswer)
    }
}

// SAFETY: marks a list of results; `MemoryAnswer` is one.
unsafe impl ComponentNamedList for MemoryAnswer {}
