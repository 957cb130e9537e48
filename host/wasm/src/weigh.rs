//! How much is in a component, before anything is made of it? A few hundred bytes can ask for millions of instances: each
//! component instantiates another one twice, which does the same. Compiling writes all of them out.

use wasmparser::{ComponentInstance, Encoding, Instance, Parser, Payload};

/// The most instances that a component may make, those inside of its parts counted as often as they are made.
const INSTANCES_MAX: u64 = 5_000;

/// A component that is being read.
#[derive(Default)]
struct Open {
    is_component: bool,
    /// The components that it may instantiate, by their weight. Those that it gets from elsewhere weigh as much as the
    /// heaviest that was seen.
    parts: Vec<u64>,
    weight: u64,
}

/// The number of instances that a component makes, as a fault when it is too large. What cannot be read is left to the
/// compiler to refuse.
pub(crate) fn instances(component: &[u8]) -> Result<(), String> {
    let mut open: Vec<Open> = Vec::new();
    let mut heaviest = 1_u64;
    for payload in Parser::new(0).parse_all(component) {
        let Ok(payload) = payload else { return Ok(()) };
        if let Payload::Version { encoding, .. } = payload {
            open.push(Open { is_component: encoding == Encoding::Component, ..Open::default() });
            continue;
        }
        if let Payload::End(_) = payload {
            let Some(closed) = open.pop() else { return Ok(()) };
            heaviest = heaviest.max(closed.weight);
            match open.last_mut() {
                Some(outer) if closed.is_component => outer.parts.push(closed.weight),
                Some(_) => {}
                None if closed.weight > INSTANCES_MAX => {
                    return Err(format!("it makes more than {INSTANCES_MAX} instances of its parts"));
                }
                None => return Ok(()),
            }
            continue;
        }
        let Some(here) = open.last_mut() else { return Ok(()) };
        here.take(payload, heaviest);
    }
    Ok(())
}

impl Open {
    fn take(&mut self, payload: Payload<'_>, heaviest: u64) {
        match payload {
            Payload::InstanceSection(section) => {
                let made = section.into_iter().flatten().filter(|made| matches!(made, Instance::Instantiate { .. }));
                self.weight = self.weight.saturating_add(made.count() as u64);
            }
            Payload::ComponentInstanceSection(section) => {
                for made in section.into_iter().flatten() {
                    if let ComponentInstance::Instantiate { component_index, .. } = made {
                        let part = self.parts.get(component_index as usize).copied().unwrap_or(heaviest);
                        self.weight = self.weight.saturating_add(part).saturating_add(1);
                    }
                }
            }
            Payload::ComponentImportSection(section) => {
                let imports = section.into_iter().flatten();
                let components =
                    imports.filter(|import| matches!(import.ty, wasmparser::ComponentTypeRef::Component(_)));
                self.parts.extend(components.map(|_| heaviest));
            }
            Payload::ComponentAliasSection(section) => {
                let components = section.into_iter().flatten().filter(is_component);
                self.parts.extend(components.map(|_| heaviest));
            }
            Payload::ComponentExportSection(section) => {
                // An export is another name in the same index space.
                for export in section.into_iter().flatten() {
                    if export.kind == wasmparser::ComponentExternalKind::Component {
                        let part = self.parts.get(export.index as usize).copied().unwrap_or(heaviest);
                        self.parts.push(part);
                    }
                }
            }
            _ => {}
        }
    }
}

fn is_component(alias: &wasmparser::ComponentAlias<'_>) -> bool {
    use wasmparser::{ComponentAlias, ComponentExternalKind, ComponentOuterAliasKind};
    match alias {
        ComponentAlias::InstanceExport { kind, .. } => *kind == ComponentExternalKind::Component,
        ComponentAlias::Outer { kind, .. } => *kind == ComponentOuterAliasKind::Component,
        ComponentAlias::CoreInstanceExport { .. } => false,
    }
}
