//! What messages make of the model.

use backstay::ops::preflight::Check;
use backstay::tui::keys::Key::{Char, Down, Enter, Esc, Right, Tab};
use backstay::tui::layers::Layer;
use backstay::tui::layers::operation::Phase;
use backstay::tui::menu::{Danger, ENTRIES, Id, why_not};
use backstay::tui::msg::{Cmd, Event};
use backstay::tui::picture::Row;
use backstay::{Exit, Failure};
use backstay_core::engine::NodeState;
use backstay_core::model::{Problem, RuleId};

use super::fixture::{Menu, mail, name, service, shop, system, theme};
use super::screens::text;

/// U1, word by word; the numbers and the order are the specification's.
#[test]
fn u11_a_viewer_is_told_at_every_entry_that_changes_something() {
    let mut menu = Menu::usual();
    menu.event(Event::Viewer(Some(name("n1"))));
    for entry in ENTRIES {
        let why = why_not(entry.id, &menu.model);
        if entry.danger == Danger::None {
            assert_eq!(why, None, "{:?}", entry.id);
        } else if [Id::ChangeFailover, Id::Sync].contains(&entry.id) {
        } else {
            assert!(why.unwrap().contains("n1 knows this key as a viewer's"));
        }
    }
}

#[test]
fn u1_every_entry_in_its_order() {
    use Id::{
        AddNode, ChangeFailover, ChangeFallback, CreateCluster, DeleteCluster, FreeStandby,
        JoinCluster, LeaveCluster, ListClusters, Lock, Maintain, MakeStandby, MoveHome, RemoveNode,
        ShowStatus, Sync, Unlock,
    };
    let ids: Vec<Id> = ENTRIES.iter().map(|e| e.id).collect();
    let wanted = [
        AddNode,
        RemoveNode,
        MakeStandby,
        FreeStandby,
        ListClusters,
        ShowStatus,
        CreateCluster,
        ChangeFallback,
        ChangeFailover,
        JoinCluster,
        LeaveCluster,
        DeleteCluster,
        MoveHome,
        Lock,
        Unlock,
        Sync,
        Maintain,
    ];
    assert_eq!(ids, wanted);
    let groups: Vec<(usize, &str)> = ENTRIES
        .iter()
        .enumerate()
        .filter(|(_, e)| !e.group.is_empty())
        .map(|(n, e)| (n, e.group))
        .collect();
    assert_eq!(
        groups,
        [
            (0, "Nodes in system"),
            (2, "Standby nodes in system"),
            (4, "Cluster handling")
        ]
    );
    let mut keys: Vec<char> = ENTRIES.iter().map(|e| e.key).collect();
    keys.sort_unstable();
    keys.dedup();
    assert_eq!(keys.len(), ENTRIES.len(), "two entries have one letter");
    assert!(
        ENTRIES
            .iter()
            .all(|e| e.help.len() <= 76 && !e.help.is_empty())
    );
}

#[test]
fn u1_what_cannot_be_used_is_shown_with_the_reason() {
    let mut menu = Menu::usual();
    for id in [Id::ChangeFailover, Id::Sync] {
        assert!(why_not(id, &menu.model).unwrap().contains("later version"));
    }
    for entry in ENTRIES
        .iter()
        .filter(|e| ![Id::ChangeFailover, Id::Sync].contains(&e.id))
    {
        assert_eq!(why_not(entry.id, &menu.model), None, "{:?}", entry.id);
    }
    menu.key(Char('y'));
    assert!(menu.model.layers.is_empty());
    assert!(text(&menu).contains("Not now: copying data comes with a later version."));
    // Nothing free, nothing locked.
    let mut system = system();
    system.revision += 1;
    system
        .nodes
        .retain(|n| n.name != name("n9") && n.name != name("sb9"));
    menu.event(Event::System(Some(Box::new(system))));
    let mut shop = shop();
    shop.services.iter_mut().for_each(|s| s.lock = None);
    menu.event(Event::View(Box::new(shop)));
    for (id, why) in [
        (Id::RemoveNode, "C8"),
        (Id::MakeStandby, "C8"),
        (Id::FreeStandby, "C8"),
        (Id::CreateCluster, "C2"),
        (Id::JoinCluster, "C3"),
        (Id::Unlock, "no service is locked"),
    ] {
        assert!(why_not(id, &menu.model).unwrap().contains(why), "{id:?}");
    }
    // Before anybody has answered only the first node can be added.
    let silent = Menu::silent((80, 24), theme(true, true));
    for entry in ENTRIES {
        assert_eq!(
            why_not(entry.id, &silent.model).is_none(),
            entry.id == Id::AddNode,
            "{:?}",
            entry.id
        );
    }
}

#[test]
fn entries_are_opened_by_number_and_by_letter() {
    let mut menu = Menu::usual();
    menu.typed("12");
    assert_eq!(menu.model.home.entry, 11);
    menu.typed("3");
    assert_eq!(menu.model.home.entry, 2, "123 is no entry: 3 begins anew");
    menu.key(Enter);
    assert!(
        matches!(menu.model.layers.last(), Some(Layer::Form(f)) if f.title == "Free to standby")
    );
    menu.key(Esc);
    menu.key(Char('k'));
    assert!(
        matches!(menu.model.layers.last(), Some(Layer::Form(f)) if f.title == "Lock service to node")
    );
}

pub(crate) fn run(cmds: &[Cmd]) -> String {
    match cmds {
        [Cmd::Run(words)] => words.join(" "),
        other => panic!("nothing is run: {other:?}"),
    }
}

fn ask(menu: &mut Menu) {
    menu.event(Event::Ask("Go on?".to_owned()));
}

fn phase(menu: &Menu) -> &Phase {
    &menu.model.operation.as_ref().unwrap().phase
}

#[test]
fn keys_that_were_on_their_way_do_not_answer_a_dialog() {
    let mut menu = Menu::usual();
    menu.key(Char('u'));
    menu.keys(&[Down, Enter]);
    ask(&mut menu);
    // Not on the screen yet: no key is meant for it, however late.
    menu.at += 5_000;
    for key in [Tab, Enter, Esc] {
        assert!(menu.event(Event::Key(key)).is_empty());
    }
    assert!(!menu.model.operation.as_ref().unwrap().go);
    menu.event(Event::Drawn);
    menu.at += 299;
    for key in [Tab, Enter, Esc] {
        assert!(menu.event(Event::Key(key)).is_empty());
    }
    assert!(matches!(phase(&menu), Phase::Asking(_)));
    menu.at += 1;
    // The focus is on Cancel.
    assert_eq!(menu.event(Event::Key(Enter)), [Cmd::Answer(false)]);
    ask(&mut menu);
    assert_eq!(menu.keys(&[Tab, Enter]), [Cmd::Answer(true)]);
}

#[test]
fn what_ends_asks_for_its_name() {
    for (letter, right) in [('d', "mail"), ('x', "m1")] {
        let mut menu = Menu::usual();
        menu.key(Char(letter));
        menu.keys(&[Down, Enter]);
        ask(&mut menu);
        let entry = ENTRIES.iter().find(|e| e.key == letter).unwrap();
        assert_eq!(entry.danger, Danger::End);
        assert!(
            menu.keys(&[Tab, Enter]).is_empty(),
            "without a name nothing is done"
        );
        menu.typed("shop");
        assert!(menu.keys(&[Enter]).is_empty(), "nor with another");
        let said = format!("That is not the name: it is {right}.");
        assert!(text(&menu).contains(&said), "{}", text(&menu));
        assert!(matches!(phase(&menu), Phase::Asking(_)));
        menu.keys(&[backstay::tui::keys::Key::Ctrl('u')]);
        // Who has typed it needs no other key than Return.
        menu.typed(right);
        assert!(menu.model.operation.as_ref().unwrap().go);
        assert_eq!(menu.keys(&[Enter]), [Cmd::Answer(true)]);
        ask(&mut menu);
        menu.typed(right);
        menu.key(backstay::tui::keys::Key::Backspace);
        assert!(!menu.model.operation.as_ref().unwrap().go);
        // Cancel is marked as long as nothing is typed.
        menu.keys(&[backstay::tui::keys::Key::Ctrl('u')]);
        assert_eq!(menu.keys(&[Enter]), [Cmd::Answer(false)]);
    }
}

#[test]
fn warnings_can_be_overridden_rules_not() {
    let problem = |place: &str| Problem {
        rule: RuleId::of("C10"),
        place: place.to_owned(),
        what: "x".to_owned(),
        mend: "y".to_owned(),
    };
    let check = Check {
        name: "clocks-differ".to_owned(),
        rule: RuleId::of("C10"),
        may_ignore: true,
        sentence: "x".to_owned(),
    };
    let refused = |places: &[&str]| {
        let problems = places.iter().map(|p| problem(p)).collect();
        let failure =
            Failure::new(Exit::Refused, "refused; nothing was changed").problems(problems);
        let mut menu = Menu::usual();
        menu.key(Char('u'));
        menu.keys(&[Down, Enter]);
        let plan = backstay_core::plan::Plan {
            title: "unlock web2".to_owned(),
            changed: true,
            documents: Vec::new(),
            system: None,
            order: None,
            steps: Vec::new(),
            consequences: Vec::new(),
            warnings: Vec::new(),
            differences: Vec::new(),
            goal: backstay_core::plan::Goal::default(),
            truth: "it is so".to_owned(),
            command: "backstay service unlock web2".to_owned(),
        };
        menu.event(Event::Plan(Box::new(plan), vec![check.clone()]));
        menu.event(Event::Ended(Err(Box::new(failure))));
        menu.keys(&[Char('w')])
    };
    let again = refused(&["check clocks-differ"]);
    assert_eq!(
        run(&again),
        "service unlock web2 --ignore-check=clocks-differ"
    );
    assert!(
        refused(&["check clocks-differ", "node n1"]).is_empty(),
        "U4: a rule stands"
    );
}

#[test]
fn u8_who_was_overtaken_is_offered_a_new_plan() {
    let ended = |failure: Failure| {
        let mut menu = Menu::usual();
        menu.key(Char('u'));
        menu.keys(&[Down, Enter]);
        menu.event(Event::Ended(Err(Box::new(failure))));
        menu
    };
    let refused = Failure::new(Exit::Refused, "somebody changed shop").hint("give it again");
    let mut menu = ended(refused.clone().again());
    let screen = text(&menu);
    assert!(screen.contains("p plans it anew"), "{screen}");
    assert!(!screen.contains("give it again"), "{screen}");
    assert_eq!(run(&menu.keys(&[Char('p')])), "service unlock web2");
    assert!(matches!(phase(&menu), Phase::Working));
    assert!(ended(refused).keys(&[Char('p')]).is_empty());
}

#[test]
fn an_operation_can_be_stopped_left_and_found_again() {
    let mut menu = Menu::usual();
    menu.key(Char('u'));
    menu.keys(&[Down, Enter]);
    assert_eq!(menu.key(Char('s')), [Cmd::Stop]);
    assert!(menu.model.operation.as_ref().unwrap().stopping);
    menu.key(Char('d'));
    assert!(menu.model.layers.is_empty());
    assert!(
        why_not(Id::Lock, &menu.model)
            .unwrap()
            .contains("unlock web2 still goes on")
    );
    assert!(
        why_not(Id::ShowStatus, &menu.model).is_none(),
        "looking is always possible"
    );
    // Ending asks, with the focus on staying.
    menu.key(Char('q'));
    assert!(menu.keys(&[Enter]).is_empty());
    assert!(menu.model.layers.is_empty());
    menu.key(Char('q'));
    assert_eq!(menu.keys(&[Tab, Enter]), [Cmd::Stop, Cmd::Quit]);
    menu.keys(&[Esc]);
    menu.event(Event::Ended(Ok(Exit::Done)));
    assert!(
        text(&menu).contains("Done: unlock web2."),
        "{}",
        text(&menu)
    );
    menu.key(Char('o'));
    assert!(
        text(&menu).contains("The same by command:"),
        "{}",
        text(&menu)
    );
    menu.key(Esc);
    assert!(menu.model.operation.is_none() && menu.model.layers.is_empty());
    assert_eq!(menu.key(Char('q')), [Cmd::Quit]);
}

#[test]
fn s1_a_node_that_answers_itself_is_not_shown_down() {
    let mut menu = Menu::usual();
    let mut own = shop();
    own.seen_by = name("n2");
    // It hears nobody.
    for node in &mut own.nodes {
        node.state = NodeState::Down;
    }
    own.nodes[1].state = NodeState::Up;
    own.services[1].running_on = vec![name("n2")];
    own.services[1].on.insert(name("n2"), "running".to_owned());
    let mut seen = shop();
    seen.services[1]
        .on
        .insert(name("sb1"), "running".to_owned());
    menu.event(Event::View(Box::new(seen)));
    menu.event(Event::OwnWords("shop".parse().unwrap(), vec![own]));
    let view = menu
        .model
        .cluster(&"shop".parse().unwrap())
        .unwrap()
        .view
        .clone()
        .unwrap();
    assert_eq!(view.nodes[1].state, NodeState::Up);
    assert_eq!(view.services[1].running_on.len(), 2, "both run it");
    assert!(text(&menu).contains("split"), "{}", text(&menu));
}

#[test]
fn thousands_are_filtered_and_only_what_is_seen_is_marked() {
    let mut menu = Menu::usual();
    let mut view = mail();
    view.services = (0..10_000)
        .map(|n| {
            service(
                &format!("s{n}"),
                "m1",
                &["m1"],
                backstay_core::engine::ServiceState::Running,
                "192.0.2.1/24",
            )
        })
        .collect();
    menu.event(Event::View(Box::new(view)));
    assert!(menu.model.rows.len() > 10_000);
    menu.key(Tab);
    menu.key(backstay::tui::keys::Key::End);
    assert_eq!(menu.model.home.row, menu.model.rows.len() - 1);
    assert!(text(&menu).contains("sb9"), "{}", text(&menu));
    menu.key(Char('/'));
    menu.typed("s4711");
    assert_eq!(
        menu.model.rows.len(),
        2,
        "the cluster, and the node with the service"
    );
    assert!(matches!(menu.model.rows[1], Row::Node(..)));
    menu.keys(&[Enter, Esc]);
    assert!(menu.model.rows.len() > 10_000);
}

#[test]
fn u6_the_next_session_says_what_took_effect() {
    let mut menu = Menu::usual();
    let changed = backstay_core::model::Changed {
        by: "anna@desk".to_owned(),
        at: 1_700_000_000,
        what: "lock web2".to_owned(),
    };
    let staged = vec![(name("n3"), 8)];
    menu.event(Event::Revision(
        "shop".parse().unwrap(),
        7,
        Box::new(changed),
        staged,
    ));
    let screen = text(&menu);
    assert!(screen.contains("! n3 staged revision 8"), "{screen}");
    menu.key(Char('t'));
    menu.keys(&[Right, Right, Enter, Enter]);
    let screen = text(&menu);
    assert!(
        screen.contains("revision 7: lock web2 by anna@desk"),
        "{screen}"
    );
    assert!(
        screen.contains("never committed: it did not take effect"),
        "{screen}"
    );
    // Once it is committed after all it is no news any more.
    menu.key(Esc);
    let mut view = shop();
    view.revision = 8;
    menu.event(Event::View(Box::new(view)));
    assert!(!text(&menu).contains("staged revision"));
}

#[test]
fn u6_a_cluster_that_was_staged_and_never_created_is_named_until_it_is_there() {
    let mut menu = Menu::usual();
    let shows = |menu: &Menu| {
        let rows = menu.model.rows.iter();
        rows.filter(|r| matches!(r, Row::Leftover(_))).count()
    };
    let names = ["web", "shop"].map(|n| n.parse().unwrap());
    menu.event(Event::Leftovers(name("n9"), names.to_vec()));
    // There is a shop.
    assert_eq!(shows(&menu), 1);
    menu.event(Event::Leftovers(name("n9"), Vec::new()));
    assert_eq!(shows(&menu), 0);
}
