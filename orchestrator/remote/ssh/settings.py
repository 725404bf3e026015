"""The settings of ssh_config for one host, and what orch does with each keyword."""

from __future__ import annotations

from dataclasses import dataclass, field


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


FLAGS = _names("""
    batchmode checkhostip clearallforwardings compression enableescapecommandline enablesshkeysign
    exitonforwardfailure forkafterauthentication forwardx11 forwardx11trusted gatewayports
    gssapiauthentication gssapidelegatecredentials hashknownhosts hostbasedauthentication identitiesonly
    kbdinteractiveauthentication nohostauthenticationforlocalhost passwordauthentication
    permitlocalcommand proxyusefdpass stdinnull streamlocalbindunlink tcpkeepalive visualhostkey
""")
"""Keywords with the value yes or no."""
WORD = _names("""
    bindaddress bindinterface certificatefile controlpath forwardagent hostkeyalias hostname identityagent
    identityfile ignoreunknown kbdinteractivedevices pkcs11provider preferredauthentications
    revokedhostkeys securitykeyprovider user xauthlocation
""")
"""Keywords with one word."""
WORDS = _names("globalknownhostsfile userknownhostsfile")
"""Keywords with a list of words."""
REST = _names("knownhostscommand localcommand proxycommand proxyjump remotecommand")
"""Keywords whose value is the rest of the line."""
OTHER = _names("""
    addkeystoagent addressfamily canonicaldomains canonicalizefallbacklocal canonicalizehostname
    canonicalizemaxdots canonicalizepermittedcnames casignaturealgorithms ciphers connectionattempts
    connecttimeout controlmaster controlpersist dynamicforward escapechar fingerprinthash
    forwardx11timeout hostbasedacceptedalgorithms hostkeyalgorithms ipqos kexalgorithms localforward
    loglevel logverbose macs numberofpasswordprompts permitremoteopen port pubkeyacceptedalgorithms
    pubkeyauthentication rekeylimit remoteforward requesttty requiredrsasize sendenv serveralivecountmax
    serveraliveinterval sessiontype setenv streamlocalbindmask stricthostkeychecking syslogfacility
    tunnel tunneldevice updatehostkeys verifyhostkeydns
""")
"""Keywords with a value of their own kind."""
LISTS = _names("certificatefile identityfile")
"""Keywords whose values add up; of the others, the first counts."""

HONOURED = _names("""
    addressfamily bindaddress bindinterface certificatefile ciphers connecttimeout controlpath
    forwardagent globalknownhostsfile gssapiauthentication hashknownhosts hostbasedauthentication
    hostkeyalgorithms hostkeyalias hostname identitiesonly identityagent identityfile kexalgorithms
    knownhostscommand macs pkcs11provider port proxycommand proxyjump proxyusefdpass revokedhostkeys
    securitykeyprovider sendenv setenv stricthostkeychecking tag tcpkeepalive user
    userknownhostsfile verifyhostkeydns
""")
"""Keywords that have an effect on how orch connects, or on its sessions."""
SESSION_ONLY = _names("""
    addkeystoagent batchmode challengeresponseauthentication checkhostip
    clearallforwardings compression connectionattempts controlmaster controlpersist dynamicforward
    enableescapecommandline escapechar exitonforwardfailure fingerprinthash forkafterauthentication
    forwardx11 forwardx11timeout forwardx11trusted gatewayports gssapidelegatecredentials
    gssapikeyexchange ignoreunknown ipqos kbdinteractiveauthentication kbdinteractivedevices
    localcommand localforward loglevel logverbose nohostauthenticationforlocalhost
    numberofpasswordprompts obscurekeystroketiming passwordauthentication permitlocalcommand
    permitremoteopen preferredauthentications pubkeyauthentication rekeylimit remoteforward requesttty
    serveralivecountmax serveraliveinterval sessiontype stdinnull streamlocalbindmask
    streamlocalbindunlink syslogfacility tunnel tunneldevice updatehostkeys usekeychain visualhostkey
    xauthlocation
""")
"""Keywords that concern interactive sessions, or for which orch has its own rule: never reported."""
CANONICAL = _names("""
    canonicaldomains canonicalizefallbacklocal canonicalizehostname canonicalizemaxdots
    canonicalizepermittedcnames
""")
"""Keywords about canonical names, which only ssh itself finds."""
DROPPED = _names("remotecommand")
"""Keywords without effect on orch, reported beside a failure only."""


@dataclass
class Settings:
    """What ssh_config says about one host: values by keyword in lower case, without ssh's defaults.

    `places` has the file and line of a keyword, if it is known. `expanded` are the keywords whose tokens
    are already replaced.
    """

    values: dict[str, tuple[str, ...]] = field(default_factory=dict)
    places: dict[str, str] = field(default_factory=dict)
    expanded: frozenset[str] = frozenset()

    @property
    def is_of_ssh(self) -> bool:
        """Whether ssh itself has resolved the host."""
        return bool(self.expanded)

    def words(self, keyword: str) -> tuple[str, ...]:
        return self.values.get(keyword, ())

    def word(self, keyword: str) -> str | None:
        """Return its value; None if there is none, or it is `none`."""
        value = " ".join(self.values.get(keyword, ()))
        return value if value and value.lower() != "none" else None

    def is_on(self, keyword: str) -> bool:
        """Return whether it is set to something else than no."""
        return (self.word(keyword) or "no").lower() not in ("no", "false")

    def place(self, keyword: str) -> str:
        """Return where it is set, for a message."""
        return self.places.get(keyword, "your ssh_config")

    def with_places_of(self, other: Settings) -> Settings:
        """Return these settings, with more places: of those of `other` that are the same."""
        places = {
            keyword: place
            for keyword, place in other.places.items()
            if other.values[keyword] == self.values.get(keyword)
        }
        return Settings(self.values, {**places, **self.places}, self.expanded)
