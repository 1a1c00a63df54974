//! What faults do to a process of the fleet.

use super::{Fleet, cpu, failed};
use crate::{
    base::name::NodeName,
    chaos::provider::ProviderError,
    world::real::process::{self, Word},
};

impl Fleet {
    /// SIGKILL; resolves when it is reaped.
    pub(super) async fn kill_process(&self, node: &NodeName) -> Result<String, ProviderError> {
        let mut child = self.take_process(node)?;
        let pid = child.pid();
        let status = child.kill().await.map_err(|why| failed(node, &why.to_string()))?;
        Ok(format!("process {pid} ended ({status})"))
    }

    /// SIGTERM; resolves when it is reaped. Whoever does not wait for that has it killed.
    pub(super) async fn terminate_process(&self, node: &NodeName) -> Result<String, ProviderError> {
        let mut child = self.take_process(node)?;
        let (pid, wrong) = (child.pid(), |why: std::io::Error| failed(node, &why.to_string()));
        process::tell(pid, Word::Terminate).map_err(wrong)?;
        let status = child.wait().await.map_err(wrong)?;
        Ok(format!("process {pid} ended ({status})"))
    }

    /// SIGSTOP.
    pub(super) fn pause_process(&self, node: &NodeName) -> Result<String, ProviderError> {
        let pid = self.tell_process(node, Word::Pause)?;
        Ok(format!("process {pid} stands still"))
    }

    /// SIGCONT to one that stands still; nothing to any other.
    pub(super) fn resume_process(&self, node: &NodeName) {
        // One that is gone is started instead.
        let _ = self.tell_process(node, Word::Resume);
    }

    fn tell_process(&self, node: &NodeName, word: Word) -> Result<u32, ProviderError> {
        // Waited for, so its id may be another's.
        if let Some(status) = self.ended(node) {
            return Err(failed(node, &format!("its process has ended ({status})")));
        }
        let members = self.members.borrow();
        let child = members.get(node).and_then(|member| member.child.as_ref());
        let pid = child.ok_or_else(|| failed(node, "there is no process"))?.pid();
        process::tell(pid, word).map_err(|why| failed(node, &why.to_string()))?;
        Ok(pid)
    }

    /// The process that is to end; from now on it is down on purpose.
    fn take_process(&self, node: &NodeName) -> Result<process::Child, ProviderError> {
        let mut members = self.members.borrow_mut();
        let member = members.entry(node.clone()).or_default();
        member.down = true;
        member.spent += cpu(member.child.as_ref());
        member.child.take().ok_or_else(|| failed(node, "there is no process to end"))
    }
}
