//! The entries of the menu that change something, in the order in which one can follow the other.

use super::drive::Entry;
use super::drive::Field::{Choice, Service, Text};

const WEB1: &[super::drive::Field] = &[
    Text("Name", "web1"),
    Choice("Home", "n1"),
    Text("Alias", "192.0.2.101/24"),
    Text("Base", "192.0.2.11/24"),
    Text("Units", "web1.service"),
];
const WEB2: &[super::drive::Field] = &[
    Text("Name", "web2"),
    Choice("Home", "n2"),
    Text("Alias", "192.0.2.102/24"),
    Text("Base", "192.0.2.12/24"),
    Text("Units", "web2.service"),
    Text("Priority", "70"),
];

const BLANK: Entry = Entry {
    key: ' ',
    label: "",
    needs: "",
    form: &[],
    to_type: "",
    flags: "",
};

const fn add(form: &'static [super::drive::Field], flags: &'static str) -> Entry {
    Entry {
        key: 'a',
        label: "Add node",
        form,
        flags,
        ..BLANK
    }
}

const fn remove(
    form: &'static [super::drive::Field],
    flags: &'static str,
    needs: &'static str,
) -> Entry {
    Entry {
        key: 'r',
        label: "Remove node",
        needs,
        form,
        flags,
        ..BLANK
    }
}

/// From bare hosts to free nodes and a standby.
pub(crate) const NODES: [Entry; 4] = [
    add(
        &[Text("Host", "192.0.2.101"), Text("Name", "n1")],
        "node add 192.0.2.101 --name n1",
    ),
    add(
        &[Text("Host", "192.0.2.102"), Text("Name", "n2")],
        "node add 192.0.2.102 --name n2",
    ),
    add(
        &[Text("Host", "192.0.2.21"), Text("Name", "sb1")],
        "node add 192.0.2.21 --name sb1",
    ),
    Entry {
        key: 's',
        label: "Free to standby",
        needs: "sb1",
        form: &[Choice("Node", "sb1")],
        flags: "node role sb1 standby",
        ..BLANK
    },
];

/// The life of a cluster.
pub(crate) const CLUSTER: [Entry; 11] = [
    Entry {
        key: 'c',
        label: "Create new cluster",
        form: &[
            Text("Name", "shop"),
            Choice("Standby", "sb1"),
            Service(WEB1),
        ],
        flags: "cluster create shop --standby sb1 --service web1=n1,alias=192.0.2.101/24,base=192.0.2.11/24,unit=web1.service",
        ..BLANK
    },
    Entry {
        key: 'p',
        label: "Change fallback type/priority",
        needs: "n1   up      web1",
        form: &[
            Choice("Of", "web1"),
            Choice("Fallback", "automatic"),
            Text("Priority", "50"),
        ],
        flags: "service set web1 --priority 50 --fallback auto",
        ..BLANK
    },
    Entry {
        key: 'j',
        label: "Add node to a cluster",
        form: &[
            Choice("Cluster", "shop"),
            Choice("Node", "n2"),
            Service(WEB2),
        ],
        flags: "cluster add-node shop n2 --service web2=n2,alias=192.0.2.102/24,base=192.0.2.12/24,priority=70,unit=web2.service",
        ..BLANK
    },
    Entry {
        key: 'k',
        label: "Lock service to node",
        needs: "n1   up      web1",
        form: &[Choice("Service", "web1"), Text("Reason", "disk")],
        flags: "service lock web1 --reason disk",
        ..BLANK
    },
    Entry {
        key: 'u',
        label: "Unlock service",
        needs: "web1 locked",
        form: &[Choice("Service", "web1")],
        flags: "service unlock web1",
        ..BLANK
    },
    Entry {
        key: 'm',
        label: "Maintenance of a node",
        needs: "n1   up      web1",
        form: &[
            Choice("Node", "n1"),
            Text("For", "20m"),
            Text("Reason", "disk"),
        ],
        flags: "node maintenance n1 --for 20m --reason disk",
        ..BLANK
    },
    Entry {
        key: 'm',
        label: "Maintenance of a node",
        needs: "web1 locked",
        form: &[Choice("Node", "n1"), Choice("What", "it has ended")],
        flags: "node maintenance n1 --end",
        ..BLANK
    },
    Entry {
        key: 'h',
        label: "Move service standby to home",
        needs: "n2   up      web2",
        form: &[Choice("Service", "web2"), Choice("To", "the standby")],
        flags: "service move web2 --to standby",
        ..BLANK
    },
    Entry {
        key: 'h',
        label: "Move service standby to home",
        needs: "web2 \u{2192} sb1",
        form: &[Choice("Service", "web2"), Choice("To", "home")],
        flags: "service move web2 --to home",
        ..BLANK
    },
    Entry {
        key: 'x',
        label: "Remove node from a cluster",
        needs: "n2   up      web2",
        form: &[Choice("Node", "n2")],
        to_type: "n2",
        flags: "cluster remove-node shop n2",
    },
    Entry {
        key: 'd',
        label: "Delete cluster",
        needs: "n1   up      web1",
        form: &[Choice("Cluster", "shop")],
        to_type: "shop",
        flags: "cluster delete shop",
    },
];

/// Back to bare hosts.
pub(crate) const AWAY: [Entry; 4] = [
    Entry {
        key: 'f',
        label: "Standby to free",
        form: &[Choice("Node", "sb1")],
        flags: "node role sb1 free",
        ..BLANK
    },
    remove(&[Choice("Node", "n2")], "node remove n2", "n2"),
    remove(&[Choice("Node", "sb1")], "node remove sb1", "2 nodes"),
    remove(&[Choice("Node", "n1")], "node remove n1", "1 node"),
];
