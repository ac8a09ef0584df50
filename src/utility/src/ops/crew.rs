//! The sessions of one operation, one for each node that was reached.

use std::collections::BTreeMap;
use std::time::Duration;

use backstay_core::model::NodeName;

use crate::remote::{Client, RemoteError, fanout};

/// Open sessions by node.
#[derive(Debug, Default)]
pub struct Crew {
    sessions: BTreeMap<NodeName, Client>,
    limit: Duration,
}

impl Crew {
    /// No sessions yet. `limit` bounds what one call to one node may take in all, over and above the
    /// session's own deadlines.
    pub fn new(limit: Duration) -> Self {
        Self {
            sessions: BTreeMap::new(),
            limit,
        }
    }

    /// Adds the session with a node.
    pub fn add(&mut self, name: NodeName, mut client: Client) {
        client.rename(name.as_str());
        self.sessions.insert(name, client);
    }

    /// Who is here, in the order of names.
    pub fn names(&self) -> impl Iterator<Item = &NodeName> {
        self.sessions.keys()
    }

    /// Whether that node is here.
    pub fn has(&self, name: &NodeName) -> bool {
        self.sessions.contains_key(name)
    }

    /// The session with a node.
    pub fn get(&mut self, name: &NodeName) -> Option<&mut Client> {
        self.sessions.get_mut(name)
    }

    /// Ends the session with a node.
    pub fn remove(&mut self, name: &NodeName) -> Option<Client> {
        self.sessions.remove(name)
    }

    /// Does the same with several nodes at once. A node that is not here is left out of the answer; a
    /// session that breaks is given up, and its error is the answer.
    pub fn each<T: Send + 'static>(
        &mut self,
        names: &[NodeName],
        work: impl Fn(&NodeName, &mut Client) -> Result<T, RemoteError> + Send + Sync + 'static,
    ) -> BTreeMap<NodeName, Result<T, RemoteError>> {
        let items: Vec<_> = names
            .iter()
            .filter_map(|name| self.sessions.remove_entry(name))
            .collect();
        let called: Vec<NodeName> = items.iter().map(|(name, _)| name.clone()).collect();
        let limit = self.limit;
        let mut answers = BTreeMap::new();
        fanout(
            items,
            limit,
            move |(name, mut client): (NodeName, Client)| {
                let answer = work(&name, &mut client);
                (client, answer)
            },
            |index, result| {
                let name = called[index].clone();
                let answer = match result {
                    Some((client, answer)) => {
                        // After a refusal the session is as good as before; after anything else it is not.
                        if answer.as_ref().err().is_none_or(|e| e.fault().is_some()) {
                            self.sessions.insert(name.clone(), client);
                        }
                        answer
                    }
                    None => Err(RemoteError::Timeout {
                        host: name.to_string(),
                        during: "waiting for an answer",
                        after: limit,
                    }),
                };
                answers.insert(name, answer);
            },
        );
        answers
    }
}
