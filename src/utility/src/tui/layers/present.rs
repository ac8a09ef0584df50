//! What a form shows of how things are now, as far as that depends on what is chosen in it.

use backstay_core::model::Fallback;

use super::super::menu::Id;
use super::super::model::Model;
use super::Layer;
use super::form::{Form, Kind, Purpose};

/// The form in front, after something was chosen in it.
pub fn refresh(model: &mut Model) {
    match model.layers.pop() {
        Some(Layer::Form(mut form)) => {
            fill(model, &mut form);
            model.layers.push(Layer::Form(form));
        }
        other => model.layers.extend(other),
    }
}

/// Shows what the chosen service has now where the form says "as it is".
pub fn fill(model: &Model, form: &mut Form) {
    if form.purpose != Purpose::Entry(Id::ChangeFallback) {
        return;
    }
    let of = form.value("of");
    let service = model
        .services()
        .map(|(_, s)| s)
        .find(|s| s.name.as_str() == of);
    let now = service.map(|s| (s.priority, s.fallback));
    for field in &mut form.fields {
        match (&mut field.kind, field.id) {
            (Kind::Choice { options, .. }, "fallback") => {
                if let Some(same) = options.first_mut() {
                    let label = match now {
                        Some((_, Fallback::Manual)) => "as it is (manual)",
                        Some((_, Fallback::Automatic)) => "as it is (automatic)",
                        None => "as it is",
                    };
                    label.clone_into(&mut same.label);
                }
            }
            (Kind::Text { .. }, "priority") => {
                field.present = now.map_or_else(String::new, |(priority, _)| priority.to_string());
            }
            _ => {}
        }
    }
}
