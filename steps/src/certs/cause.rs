//! Why a certificate is not issued.

/// Declares the causes once: variants with their meaning for readers of the code, and the list of all.
macro_rules! causes {
    ($($(#[$doc:meta])+ $name:ident = $code:literal,)+) => {
        /// Why a certificate is not issued.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Cause { $($(#[$doc])+ $name,)+ }

        impl Cause {
            /// All of them, those first that say most about what is wrong.
            pub const ALL: &[Self] = &[$(Self::$name,)+];

            /// Its stable name, as failures and the journal show it: `hairpin`.
            pub fn code(self) -> &'static str {
                match self { $(Self::$name => $code,)+ }
            }

            /// The cause of that name.
            pub fn of(code: &str) -> Option<Self> {
                match code { $($code => Some(Self::$name),)+ _ => None }
            }
        }
    };
}

causes! {
    /// The authority's limit is reached.
    RateLimited = "ratelimited",
    /// A CAA record forbids the authority.
    Caa = "caa",
    /// The authority does not issue for this name.
    RejectedName = "rejectedname",
    /// The authority does not accept the mail address.
    Contact = "contact",
    /// The authority does not know, or does not want, the account.
    Account = "account",
    /// The authority does not find the name.
    AuthorityDns = "authoritydns",
    /// The authority is answered by something else.
    AuthorityUnauthorized = "authorityunauthorized",
    /// The authority does not reach port 80.
    AuthorityCannotConnect = "authoritycannotconnect",
    /// The authority has trouble of its own.
    AuthorityBusy = "authoritybusy",
    /// Somebody between the cluster and the authority shows a certificate of his own.
    Intercepted = "intercepted",
    /// The clock of a node is wrong.
    Clock = "clock",
    /// cert-manager's own webhook does not answer.
    Webhook = "webhook",
    /// The ingress controller's webhook does not let the solver's ingress in.
    IngressWebhook = "ingresswebhook",
    /// The request was denied in the cluster.
    Denied = "denied",
    /// The issuer is missing or has no way to solve a challenge.
    Issuer = "issuer",
    /// cert-manager does not run.
    ManagerDown = "managerdown",
    /// The VMs do not reach the authority.
    Egress = "egress",
    /// The name server says that there is no such name.
    NoSuchName = "nosuchname",
    /// The cluster's own name service does not answer.
    ClusterDns = "clusterdns",
    /// The name has an IPv6 address, which does not lead here.
    Ipv6Record = "ipv6record",
    /// The solver's pod does not run.
    SolverDown = "solverdown",
    /// The self-check's packets are lost: the way from the VMs to the public address and back is missing.
    Hairpin = "hairpin",
    /// The same, where frames on the bridge are translated there: the rule would never be met.
    BridgedHairpin = "bridgedhairpin",
    /// The same, where the public address is that of a router in front of the host.
    RouterLoopback = "routerloopback",
    /// A firewall drops what is forwarded.
    Filtered = "filtered",
    /// No rule forwards what arrives at port 80.
    NotForwarded = "notforwarded",
    /// Nothing listens where the self-check arrives.
    Refused = "refused",
    /// A node is not reachable.
    NoRoute = "noroute",
    /// Another web server, or another part of this one, answers.
    NotFound = "notfound",
    /// The answer is a redirection that the check does not survive.
    Redirected = "redirected",
    /// Another site answers.
    OtherSite = "othersite",
    /// The connection breaks off.
    BrokenOff = "brokenoff",
    /// Issuance failed before, and the next attempt is far away.
    Backoff = "backoff",
}
