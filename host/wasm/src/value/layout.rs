//! How much room does a value take in the canonical ABI? (Component Model, `CanonicalABI.md`: alignment, size, flattening.)

use toolpost_core::catalog::shape::{Field, Integer, Shape};

/// Room in a 32-bit linear memory, and the number of core values that stand for a value when it is passed flat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    pub(crate) size: u32,
    pub(crate) align: u32,
    pub(crate) flat: u32,
}

impl Layout {
    const fn scalar(size: u32) -> Self {
        Layout { size, align: size, flat: 1 }
    }

    pub(crate) fn of(shape: &Shape) -> Self {
        match shape {
            Shape::Bool | Shape::Integer(Integer::U8 | Integer::S8) => Layout::scalar(1),
            Shape::Integer(Integer::U16 | Integer::S16) => Layout::scalar(2),
            Shape::Integer(Integer::U32 | Integer::S32) | Shape::F32 | Shape::Char => Layout::scalar(4),
            Shape::Integer(Integer::U64 | Integer::S64) | Shape::F64 => Layout::scalar(8),
            Shape::String | Shape::Bytes | Shape::List(_) => Layout { size: 8, align: 4, flat: 2 },
            Shape::FixedList(item, length) => {
                let (item, length) = (Layout::of(item), u32::try_from(*length).unwrap_or(u32::MAX));
                Layout {
                    size: item.size.saturating_mul(length),
                    align: item.align,
                    flat: item.flat.saturating_mul(length),
                }
            }
            Shape::Tuple(items) => Layout::record(items.iter()),
            Shape::Record(fields) => Layout::fields(fields),
            Shape::Option(some) => Layout::variant(2, [Some(&**some)].into_iter()),
            Shape::Variant(cases) => Layout::variant(cases.len(), cases.iter().map(|case| case.payload.as_ref())),
            Shape::Enum(labels) => Layout::variant(labels.len(), std::iter::empty()),
            Shape::Flags(labels) => match labels.len() {
                0..=8 => Layout::scalar(1),
                9..=16 => Layout::scalar(2),
                count => {
                    let words = u32::try_from(count.div_ceil(32)).unwrap_or(u32::MAX);
                    Layout { size: words.saturating_mul(4), align: 4, flat: words }
                }
            },
            Shape::Result { ok, err } => Layout::variant(2, [ok.as_deref(), err.as_deref()].into_iter()),
        }
    }

    pub(crate) fn fields(fields: &[Field]) -> Self {
        Layout::record(fields.iter().map(|field| &field.shape))
    }

    fn record<'a>(parts: impl Iterator<Item = &'a Shape>) -> Self {
        let start = Layout { size: 0, align: 1, flat: 0 };
        let whole = parts.map(Layout::of).fold(start, |whole, part| Layout {
            size: align_to(whole.size, part.align).saturating_add(part.size),
            align: whole.align.max(part.align),
            flat: whole.flat.saturating_add(part.flat),
        });
        Layout { size: align_to(whole.size, whole.align), ..whole }
    }

    fn variant<'a>(cases: usize, payloads: impl Iterator<Item = Option<&'a Shape>>) -> Self {
        let tag = match cases {
            0..=0x100 => 1,
            0x101..=0x1_0000 => 2,
            _ => 4,
        };
        let payload = payloads.flatten().map(Layout::of).fold(Layout { size: 0, align: 1, flat: 0 }, |all, one| {
            Layout { size: all.size.max(one.size), align: all.align.max(one.align), flat: all.flat.max(one.flat) }
        });
        let align = payload.align.max(tag);
        let size = align_to(tag, payload.align).saturating_add(payload.size);
        Layout { size: align_to(size, align), align, flat: payload.flat.saturating_add(1) }
    }
}

fn align_to(size: u32, align: u32) -> u32 {
    size.checked_next_multiple_of(align).unwrap_or(u32::MAX)
}
