//! Parameter and result types for wasmtime's typed calls whose shape is only known at run time.
//!
//! `TypedFunc` wants Rust types whose layout is a constant. The canonical ABI has only two ways to pass parameters, though:
//! as up to 16 core values, or as one that points to them; and two ways to pass a result: as one core value, or as one that
//! points to it. So one Rust type that is 16 core values, and one that is a single core value, serve every function. Which
//! way it is, and what to write and read, the component's own type information says, call by call.

use std::collections::BTreeMap;
use std::mem::MaybeUninit;

use serde_json::Value;
use wasmtime::component::__internal::{CanonicalAbiInfo, InstanceType, InterfaceType, LiftContext, LowerContext};
use wasmtime::component::{ComponentNamedList, ComponentType, Func, Lift, Lower, ResourceAny, TypedFunc};
use wasmtime::{Result, Store, ValRaw};

use super::lift::{self, Lifting};
use super::lower::{self, Lowering};

/// As many core values stand for parameters before they go through memory (`MAX_FLAT_PARAMS` of the canonical ABI).
pub(super) const FLAT_MAX: usize = 16;

/// Resources of an instance by the handles that stand for them.
pub(crate) type Held = BTreeMap<String, ResourceAny>;

/// Calls a function with canonical arguments, in which there may be these handles; the result comes as JSON, `null` where there
/// is none.
///
/// # Cancel safety
/// A dropped call leaves the store unusable: drop it too.
pub(crate) async fn call<T: Send>(
    store: &mut Store<T>,
    func: Func,
    arguments: &Value,
    handles: &Held,
) -> Result<Answer> {
    // SAFETY: both types pass core values only, as many as any function takes or returns; what these mean is checked value
    // by value, against the component's types, while lowering and lifting.
    let func = unsafe { TypedFunc::<Parameters<'_>, Answer>::new_unchecked(func) };
    func.call_async(store, Parameters { arguments, handles }).await
}

/// A value that is so many core values, and that never stands in memory itself.
const fn core_values(count: u8) -> CanonicalAbiInfo {
    CanonicalAbiInfo { size32: 0, align32: 1, size64: 0, align64: 1, flat_count: Some(count) }
}

/// All parameters of a call.
struct Parameters<'a> {
    arguments: &'a Value,
    handles: &'a Held,
}

/// The result of a call.
pub(crate) struct Answer {
    /// In the place of each resource stands its number among those that were made.
    pub(crate) value: Value,
    pub(crate) made: Vec<ResourceAny>,
}

// SAFETY: a function reads at most 16 core values as its parameters; all of them are written.
unsafe impl ComponentType for Parameters<'_> {
    type Lower = [ValRaw; FLAT_MAX];
    const ABI: CanonicalAbiInfo = core_values(FLAT_MAX as u8);

    fn typecheck(_: &InterfaceType, _: &InstanceType<'_>) -> Result<()> {
        Ok(())
    }
}

// SAFETY: `linear_lower_to_flat` writes all of `dst`; the other way is never taken, because `flat_count` is 16.
unsafe impl Lower for Parameters<'_> {
    fn linear_lower_to_flat<T>(
        &self,
        cx: &mut LowerContext<'_, T>,
        ty: InterfaceType,
        dst: &mut MaybeUninit<Self::Lower>,
    ) -> Result<()> {
        let mut slots = [ValRaw::u64(0); FLAT_MAX];
        let mut cx = Lowering { cx, handles: self.handles };
        lower::parameters(&mut cx, ty, self.arguments, &mut slots)?;
        dst.write(slots);
        Ok(())
    }

    fn linear_lower_to_memory<T>(&self, _: &mut LowerContext<'_, T>, _: InterfaceType, _: usize) -> Result<()> {
        Err(lower::mismatch("parameters as core values"))
    }
}

// SAFETY: marks a list of parameters; `Parameters` is one.
unsafe impl ComponentNamedList for Parameters<'_> {}

// SAFETY: a function returns at most one core value; the slot was initialized with the parameters before, so it can be read
// also when there is no result.
unsafe impl ComponentType for Answer {
    type Lower = [ValRaw; 1];
    const ABI: CanonicalAbiInfo = core_values(1);

    fn typecheck(_: &InterfaceType, _: &InstanceType<'_>) -> Result<()> {
        Ok(())
    }
}

// SAFETY: reads one core value by the type that the component itself gives for it; where it is a pointer, reads within the
// bounds of the guest's memory only.
unsafe impl Lift for Answer {
    fn linear_lift_from_flat(cx: &mut LiftContext<'_>, ty: InterfaceType, src: &Self::Lower) -> Result<Self> {
        let mut cx = Lifting { cx, made: Vec::new() };
        let value = lift::result(&mut cx, ty, src)?;
        Ok(Answer { value, made: cx.made })
    }

    fn linear_lift_from_memory(_: &mut LiftContext<'_>, _: InterfaceType, _: &[u8]) -> Result<Self> {
        Err(lower::mismatch("a result as a core value"))
    }
}

// SAFETY: marks a list of results; `Answer` is one.
unsafe impl ComponentNamedList for Answer {}
