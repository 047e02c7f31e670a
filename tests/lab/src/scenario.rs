//! What every scenario shares: a machine of its own, compared with the one around it before and after, and what other people
//! have on it.

use crate::cache::Cache;
use crate::cmd::Cmd;
use crate::error::{Result, ensure};
use crate::inside::Bind;
use crate::machine::{self, Machine};
use crate::outer::Outer;
use crate::say::{say, took};
use crate::sys::Watch;

/// Things of other people that are on the machine before wiab comes, and must be there after it has gone.
pub(crate) const FOREIGN: &str = "set -e
printf '10.1.2.3 assethost-of-somebody else\\n' >> /etc/hosts
nft add table inet foreign
nft add chain inet foreign input '{ type filter hook input priority 10; }'
nft add rule inet foreign input tcp dport 9 counter accept comment '\"somebody\"'
printf '<network><name>foreign</name><bridge name=\"virbr7\"/><ip address=\"198.51.100.129\" netmask=\"255.255.255.128\"/></network>' \
 > /tmp/foreign.xml
virsh -q net-define /tmp/foreign.xml
echo keep > /var/lib/libvirt/images/foreign.raw
";

/// A scenario: its name, the machine it boots, and what is proven there.
pub(crate) struct Scenario<'a> {
    pub(crate) name: &'a str,
    pub(crate) cache: &'a Cache,
    /// What the machine sees of the one around it.
    pub(crate) binds: &'a [Bind],
    /// Whether a machine on which it failed stays.
    pub(crate) keep: bool,
}

impl Scenario<'_> {
    /// Boots the machine, proves it, and removes the machine; nothing may be left.
    pub(crate) fn prove(&self, proof: impl FnOnce(&Machine) -> Result<()>) -> Result<()> {
        let watch = Watch::start();
        // What a killed run of the lab left is no part of the machine as it should be.
        machine::clean(self.cache, false)?;
        let before = Outer::look()?;
        let machine = Machine::up(self.cache, self.binds, self.keep)?;
        let result = proof(&machine);
        if self.keep && result.is_err() {
            let how = machine.how_to_enter();
            say(&format!("the machine stays; look around: {how}"));
            say("remove it: wiab-lab clean");
            return result;
        }
        machine.down()?;
        result?;
        Outer::look()?.same_as(&before)?;
        let name = self.name;
        took(
            &format!("{name}: passed; nothing is left, and this machine is as it was"),
            watch,
        );
        Ok(())
    }
}

/// Runs wiab to its end, shows its output, and fails unless its exit code is `wanted`.
pub(crate) fn expect(wiab: &Cmd, args: &str, wanted: i32) -> Result<()> {
    say(&format!("$ wiab {args}"));
    let watch = Watch::start();
    let code = wiab.stream()?;
    ensure(code == wanted, || {
        format!("`wiab {args}` ended with {code}, not {wanted}")
    })?;
    took(&format!("wiab {args}"), watch);
    Ok(())
}
