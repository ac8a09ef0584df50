//! A form: fields that are checked as one types.

use super::super::keys::{Key, Order};
use super::super::menu::Id;
use super::super::model::Model;
use super::super::msg::Cmd;
use super::operation::Operation;
use super::{Layer, command, forms, page, pick};

/// Longest text of a field, in characters.
const LONGEST: usize = 200;

/// Says what is wrong with a text.
pub type Check = fn(&str) -> Result<(), String>;

/// One thing that can be chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// As the command line has it.
    pub value: String,
    /// As it is shown.
    pub label: String,
}

/// What a field holds.
#[derive(Clone, Debug)]
pub enum Kind {
    /// A text.
    Text {
        /// What has been typed.
        value: String,
        /// Says what is wrong with it.
        check: Check,
    },
    /// One of several.
    Choice {
        /// All of them.
        options: Vec<Choice>,
        /// Which.
        at: usize,
    },
    /// Services, each as the command line has it.
    Services(Vec<String>),
}

/// One field.
#[derive(Clone, Debug)]
pub struct Field {
    /// Which.
    pub id: &'static str,
    /// As it is named.
    pub label: &'static str,
    /// What belongs there.
    pub help: String,
    /// What it holds.
    pub kind: Kind,
    /// What there is now, where an empty text means that.
    pub present: String,
    /// It must not be empty.
    pub needed: bool,
    /// What is wrong with it.
    pub wrong: Option<String>,
}

impl Field {
    /// What it holds as the command line has it.
    pub fn value(&self) -> &str {
        match &self.kind {
            Kind::Text { value, .. } => value.trim(),
            Kind::Choice { options, at } => options.get(*at).map_or("", |c| c.value.as_str()),
            Kind::Services(_) => "",
        }
    }

    /// Looks at what it holds; `whole`: nothing more will be typed.
    fn judge(&mut self, whole: bool) {
        let empty = match &self.kind {
            Kind::Services(specs) => specs.is_empty(),
            _ => self.value().is_empty(),
        };
        self.wrong = match &self.kind {
            _ if empty && whole && self.needed => Some(format!("{} is missing", self.label)),
            _ if empty => None,
            Kind::Text { check, .. } => check(self.value()).err(),
            _ => None,
        };
    }
}

/// What a form makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// The command line of an entry.
    Entry(Id),
    /// A service for the form below.
    Service,
}

/// A form.
#[derive(Clone, Debug)]
pub struct Form {
    /// What it makes.
    pub purpose: Purpose,
    /// Its heading.
    pub title: String,
    /// Its fields.
    pub fields: Vec<Field>,
    /// Which field has the keys; one more: the button.
    pub focus: usize,
    /// What is wrong with the whole.
    pub wrong: Option<String>,
}

impl Form {
    /// The value of a field; empty where there is none.
    pub fn value(&self, id: &str) -> &str {
        self.fields
            .iter()
            .find(|f| f.id == id)
            .map_or("", Field::value)
    }

    /// The services of the form.
    pub fn services(&self) -> &[String] {
        let mut lists = self.fields.iter().filter_map(|f| match &f.kind {
            Kind::Services(specs) => Some(specs.as_slice()),
            _ => None,
        });
        lists.next().unwrap_or_default()
    }

    fn field(&mut self) -> Option<&mut Field> {
        self.fields.get_mut(self.focus)
    }

    fn step(&mut self, forward: bool) {
        if let Some(field) = self.field() {
            field.judge(false);
        }
        let stops = self.fields.len() + 1;
        self.focus = (self.focus + if forward { 1 } else { stops - 1 }) % stops;
    }

    fn choose(&mut self, forward: bool) {
        if let Some(Field {
            kind: Kind::Choice { options, at },
            ..
        }) = self.field()
            && !options.is_empty()
        {
            let by = if forward { 1 } else { options.len() - 1 };
            *at = (*at + by) % options.len();
        }
        self.wrong = None;
    }

    /// Whether every field is in order; else the first that is not has the keys.
    fn complete(&mut self) -> bool {
        self.fields.iter_mut().for_each(|f| f.judge(true));
        match self.fields.iter().position(|f| f.wrong.is_some()) {
            Some(first) => {
                self.focus = first;
                false
            }
            None => true,
        }
    }
}

/// A key for the form in front.
pub fn key(model: &mut Model, key: Key, order: Option<Order>) -> Vec<Cmd> {
    let Some(Layer::Form(form)) = model.layers.last_mut() else {
        return Vec::new();
    };
    match (order, key) {
        (Some(Order::Open), _) => return enter(model),
        (Some(Order::Back), _) => {
            model.layers.pop();
        }
        (Some(Order::Next), _) => form.step(true),
        (Some(Order::Previous), _) => form.step(false),
        (Some(Order::Left), _) => form.choose(false),
        (Some(Order::Right), _) => form.choose(true),
        (Some(Order::List), _) => {
            if let Some(Field {
                kind: Kind::Choice { options, at },
                label,
                ..
            }) = form.field()
            {
                let pick = pick::Pick::new(label, options.clone(), *at);
                model.layers.push(Layer::Pick(pick));
            }
        }
        (Some(Order::Erase), _) => erase(form, false),
        (Some(Order::EraseAll), _) => erase(form, true),
        (_, Key::Char(c)) => typed(form, c),
        _ => {}
    }
    Vec::new()
}

fn typed(form: &mut Form, c: char) {
    form.wrong = None;
    let Some(field) = form.field() else { return };
    match &mut field.kind {
        Kind::Text { value, .. } => {
            if value.chars().count() < LONGEST && !(c == ' ' && value.is_empty()) {
                value.push(c);
            }
            field.judge(false);
        }
        // The next choice that begins with the letter; a blank is the next one.
        Kind::Choice { options, at } => {
            let after = (*at + 1..options.len()).chain(0..*at);
            let mut fits = after.filter(|n| c == ' ' || options[*n].label.starts_with(c));
            if let Some(found) = fits.next() {
                *at = found;
            }
        }
        Kind::Services(_) => {}
    }
}

fn erase(form: &mut Form, whole: bool) {
    form.wrong = None;
    if let Some(field) = form.field() {
        match &mut field.kind {
            Kind::Text { value, .. } if whole => value.clear(),
            Kind::Text { value, .. } => {
                value.pop();
            }
            Kind::Services(specs) if whole => specs.clear(),
            Kind::Services(specs) => {
                specs.pop();
            }
            Kind::Choice { .. } => {}
        }
        field.judge(false);
    }
}

/// Return: the next field, a further service, or the button.
fn enter(model: &mut Model) -> Vec<Cmd> {
    let Some(Layer::Form(form)) = model.layers.last_mut() else {
        return Vec::new();
    };
    if form.focus < form.fields.len() {
        if let Kind::Services(_) = form.fields[form.focus].kind {
            let form = form.clone();
            let service = forms::service(model, &form);
            model.layers.push(Layer::Form(service));
        } else {
            form.step(true);
        }
        return Vec::new();
    }
    if !form.complete() {
        return Vec::new();
    }
    match form.purpose {
        Purpose::Service => hand_down(model),
        Purpose::Entry(id) => submit(model, id),
    }
}

/// A service that is complete goes into the form below.
fn hand_down(model: &mut Model) -> Vec<Cmd> {
    let Some(Layer::Form(mut form)) = model.layers.pop() else {
        return Vec::new();
    };
    match forms::spec(&form) {
        Ok(spec) => {
            if let Some(Layer::Form(below)) = model.layers.last_mut() {
                for field in &mut below.fields {
                    if let Kind::Services(specs) = &mut field.kind {
                        specs.push(spec.clone());
                        field.wrong = None;
                    }
                }
                below.wrong = None;
            }
        }
        Err(why) => {
            form.wrong = Some(why);
            model.layers.push(Layer::Form(form));
        }
    }
    Vec::new()
}

/// The form becomes a command line, which is run as if it had been typed.
fn submit(model: &mut Model, id: Id) -> Vec<Cmd> {
    let Some(Layer::Form(form)) = model.layers.last_mut() else {
        return Vec::new();
    };
    if id == Id::ShowStatus {
        let cluster = form.value("cluster").parse();
        model.layers.pop();
        if let Ok(cluster) = cluster {
            page::open(model, page::Kind::Cluster(cluster));
        }
        return Vec::new();
    }
    let words = command::words(id, form);
    if let Err(why) = command::readable(&words) {
        form.wrong = Some(why);
        return Vec::new();
    }
    let name = command::to_type(id, form);
    let title = command::title(id, form);
    model.layers.pop();
    begin(model, title, words, name)
}

/// An operation begins: what is needed is gathered and planned before anything is asked.
pub fn begin(
    model: &mut Model,
    title: String,
    words: Vec<String>,
    to_type: Option<String>,
) -> Vec<Cmd> {
    model.note(format!("asked for: {title}"));
    model.operation = Some(Operation::new(title, words.clone(), to_type));
    model.layers.push(Layer::Operation);
    vec![Cmd::Run(words)]
}
