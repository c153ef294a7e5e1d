"""The words that identifiers are judged by: stand-ins, roles, titles, legal forms.

Matching compares words without case, accents, dots, hyphens and underscores. Add a word only when
it never belongs to a real value.
"""


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# What people type where a form demands an address and there is none.
NO_ADDRESS = _words("""
    anonymous donotemail donotmail dummy example fake na nil noaddress nobody noemail
    noemailaddress noemailprovided nomail none noone notapplicable notavailable notprovided null
    sample test tester testing testtest unknown xx xxx xxxx
""")

# First labels of domains that are written for the same reason.
NO_DOMAIN = _words("""
    donotemail dummy fake noaddress nodomain noemail noemailaddress nomail none noone
    notapplicable notavailable notprovided null unknown
""")

# Mailboxes of a role, not of a person: RFC 2142, and what else is customary.
ROLES = _words("""
    abuse accounting accounts admin administrator billing careers contact customerservice
    donotreply enquiries ftp help helpdesk hostmaster hr info information inquiries jobs
    mailerdaemon marketing media news noc noreply office postmaster press reception root sales
    security service support team usenet uucp webmaster www
""")

NO_PROFILE = _words("""
    none null profile test unavailable unknown user username your-name your-profile yourname
    yourprofile
""")

NO_NAME = _words("""
    anonymous contact dummy fake firstname lastname na nofirstname nolastname noname none
    notapplicable notavailable notprovided null sample surname test testing unknown user xx xxx
""")

# Words of last names that say little: sharing "de la" or "Jr." is not sharing a name.
PARTICLES = _words("""
    abu al bin da das de del den der di dos du el ibn ii iii iv jr la las le los mac mc san sr st
    ten ter van von
""")

HONORIFICS = _words("dr miss mr mrs ms mx prof professor rev sir")

CREDENTIALS = _words("cfa cpa dds dmd do esq esquire jd llm mba md pe phd pmp rn")

# Neither stand-ins nor "self-employed" say where a person works.
NO_COMPANY = _words("""
    anonymous company freelance freelancer home household independent individual na none
    notapplicable notavailable notemployed notprovided null personal private privateperson retired
    self selfemployed soleproprietor student test unemployed unknown xx xxx
""")

# Abbreviations that stand for one word only; "assoc" or "st" would not.
SAME_WORDS = {
    "usa": "us",
    "intl": "international",
    "natl": "national",
    "univ": "university",
    "dept": "department",
    "govt": "government",
    "mfg": "manufacturing",
    "mgmt": "management",
    "svcs": "services",
    "bros": "brothers",
    "und": "and",
    "et": "and",
    "och": "and",
}

# Legal forms that cleanco does not have, mostly because they are written out.
LEGAL_FORMS = (
    "aktiebolag",
    "aktiengesellschaft",
    "ek",
    "gesellschaft mit beschrankter haftung",
    "gmbh and co",
    "limited liability company",
    "limited liability partnership",
    "limited partnership",
    "private limited",
    "proprietary limited",
    "public limited company",
    "societe anonyme",
    "sociedad anonima",
)

# Of cleanco's legal forms those that are as often a word, a place or a state.
NOT_A_LEGAL_FORM = _words("""
    ad at ba ca coop da dat ec ee eg ei ent ep et eu fa fie fop ik is ks ky mb nl od oe ok ong
    pc pp private ps pse psu pt rt sab sad sal sc scoop sd sem sep ses sf sia sp spa ss stg teo
    ud uk us vat
""")
