"""The vocabulary that identifiers and values are drawn from, in groups that share no word.

A word's group is decided by its SHA-256 alone, so no list has to be kept and no generator can mix the groups up. To
hold some groups back from training is to hold back every identifier and every value in them. Invented words
(``tavelo``, ``brinsk``) make copying, not memory, the only way to get an identifier right.
"""

import hashlib
import random
import string
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

NUM_GROUPS = 10
Word = TypeVar("Word", str, tuple[str, str])

TABLES = """
user order product book movie song student teacher course employee department project task ticket invoice payment
customer supplier vendor store warehouse shipment item player team match game goal city river mountain lake airport
flight train route driver vehicle car truck bike room hotel guest booking event concert artist album track article
author comment post blog page site sensor device machine robot patient doctor nurse clinic drug recipe meal plant animal
bird horse farm field crop garden tool part engine reactor planet star comet rocket mission crew sailor ship harbor port
bridge tower building house tenant lease contract client agent broker stock trade fund loan account card bank branch
letter parcel package courier camera photo painting museum statue poem novel chapter lesson exam grade school club
member coach race runner medal award voter candidate district village garment shirt shoe lamp chair table visit survey
answer question reading probe signal server cluster volume backup release commit reviewer repository job worker shift
contractor quote refund coupon cart wallet token session visitor donor charity volunteer region parish orchard barrel
bottle brewery winery grape olive forest tree trail camp tent ranger island beach cave tunnel canal ferry pilot hangar
runway engineer bolt valve pump pipe meter battery panel turbine grid circuit chip board kernel packet recruit officer
unit squad fleet cargo crate pallet forklift depot locker badge visa passport embassy judge verdict lawyer
""".split()

NUMERIC_COLUMNS = """
age price height weight length width depth score rating quantity amount total salary budget balance distance duration
speed volume area capacity level points rank floor mileage temperature pressure power voltage income profit cost
discount tax fee debt margin population votes goals wins seats rooms doors wheels credits hours minutes clicks views
likes shares followers revenue stake turnover humidity altitude intake output yield dosage calories sugar salt count
size stock limit bonus rent deposit premium bid offer lap pages words lines errors retries attempts latency throughput
memory storage cores threads ports watts lumens torque thrust range payload density acidity protein fiber fat carbs
pulse steps reps laps saves assists fouls penalties rebounds tickets visits orders refunds returns
""".split()

TEXT_COLUMNS = """
name title city country color brand category status email phone street region language genre author owner manager model
type code label gender nickname surname role section topic subject format material origin destination supplier carrier
currency district climate flavor texture season weekday mood shape pattern style manufacturer publisher director
producer editor designer mentor sponsor vendor faculty major hobby sport alias badge branch breed building bucket
channel cuisine diet domain engine fabric finish gate habitat icon instrument issuer kind locale maker medium
nationality occupation party plan platform position profession province quality religion route scent scope sector series
severity source stage state surface team theme tier timezone tribe unit variety venue version village zone
""".split()

DATE_COLUMNS = """
created_at birth_date hired_on start_date end_date due_date published_on joined_on updated_at expires_on opened_on
closed_on shipped_on paid_on signed_on founded_on released_on arrived_on sold_on booked_on ordered_on delivered_on
graduated_on inspected_on renewed_on cancelled_on registered_on installed_on visited_on planted_on
""".split()

GIVEN_NAMES = """
Anna Bruno Clara David Elena Felix Greta Hugo Irene Jonas Karin Louis Maria Nadia Oscar Paula Quentin Rosa Simon Tara
Ulrich Vera Walter Xenia Yusuf Zoe Amir Bella Carlos Dana Emil Fatima Gabriel Hanna Ivan Julia Kenji Leila Marco Nina
Omar Petra Rafael Sofia Tomas Uma Victor Wanda Ximena Yara Zoran Aisha Boris Chloe Diego Esther
""".split()

PLACES = """
Paris Oslo Lima Cairo Delhi Tokyo Berlin Madrid Porto Quito Dublin Vienna Prague Warsaw Athens Zurich Geneva Milan
Naples Lyon Bergen Tampa Austin Denver Boston Dallas Chicago Toronto Havana Bogota Santiago Lagos Nairobi Accra Dakar
Tunis Rabat Beirut Amman Doha Tehran Kabul Karachi Mumbai Hanoi Seoul Osaka Kyoto Perth Sydney Auckland
""".split()

PLAIN_VALUES = """
red blue green black white yellow silver gold active closed open pending done urgent small large medium wood steel glass
paper cotton jazz rock opera drama comedy horror fiction history science spring summer winter autumn north south east
west daily weekly monthly gas diesel electric new used rare common light dark fresh frozen sweet sour
""".split()

# Relationship type, what the first does to the second.
RELATIONSHIPS = """
KNOWS:know LIKES:like OWNS:own FOLLOWS:follow USES:use MANAGES:manage SUPPORTS:support VISITED:visited BOUGHT:bought
WROTE:wrote RATED:rated JOINED:joined LEADS:lead TEACHES:teach STUDIES:study SELLS:sell BUILT:built REPAIRED:repaired
LIVES_IN:live_in WORKS_AT:work_at WORKS_FOR:work_for BELONGS_TO:belong_to DEPENDS_ON:depend_on PART_OF:are_part_of
PLAYED_IN:played_in ACTED_IN:acted_in REPORTS_TO:report_to CONTAINS:contain PRODUCES:produce SUPPLIES:supply
LOCATED_IN:are_located_in SIGNED:signed HIRED:hired REVIEWED:reviewed MENTIONS:mention CITES:cite TREATS:treat
TRUSTS:trust SPONSORS:sponsor ORDERED:ordered WATCHED:watched RENTED:rented FOUNDED:founded GUARDS:guard
""".split()

VERBS = """
get find make compute collect select pick build check apply filter keep convert count list gather extract format process
derive scan take read handle update adjust sort merge split parse clean resolve evaluate measure reduce map show
""".split()

# Everyday words that say nothing in a request: no number, order, comparison or negation. None is in a list above.
COMMON_WORDS = """
able abroad absorb accept accompany achieve actor adopt advance advice afford afternoon agency ahead aimed alarm alike
alive aloud amazing ample ancient announce anxious apologise appeal appreciate approach approve arise army asleep assure
attach attend attract awake aware awful baby bake bare basis basket bath bear beauty because become bedroom behave being
believe bell bend benefit bitter blame blanket bless blow boil bold bone borrow bother bound bowl brave bread breakfast
breathe brick brief bright bring brother brought brush burn bury busy butter button calm came candle careful carefully
carried casual catch cause celebrate central ceremony chain chance cheer cheese cherish circle citizen claim clever
climb clock cloth cloud coast coat coffee collar comfort company complain concern confess connect conscious consent
corner cough courage cousin crack cross crowd cruel curious curtain custom dance danger daring dawn deal dear decent
declare delight deserve desire devote differ dinner direct dirt discover dozen drag dream dress drift drink drive dust
eager earn earth ease easily eaten echo effort elbow elegant embrace emerge employ encourage enjoy enter envy errand
escape evening evident example excite excuse exist expect explain explore express fabulous faint fair faith fame family
famous fancy farewell fashion father fault favour fear feather feel fellow fence fetch fever fierce fight finger fire
fist flame flash flow flower folded fond food fool foreign forgive formal fortune fought found frame frank freedom
frequent friendly fruit funny gain gentle genuine ghost gift given glad glance glory glove going gossip grace grain
grand grant grateful gravity greet grief grin ground growth guide habit hair handy happen happy hard harvest hasty haul
heal heap heard heart held hello help herself hesitate hidden himself holiday hollow holy honest honour hope horizon
host humble hunt hurry ideal idle imagine inform inherit inspire intend invite iron itself jacket jealous jolly journey
joyful jump justice keen kept kettle kick kiss kitchen knee knife knock known ladder lady laid landed lantern laugh lazy
lean learn leather lend liberty lift lively load lonely lord loud love lovely loyal lucky luggage magic maid manner
march marry master meadow meant meanwhile meet mend merry mild milk mind mirror mischief moment monster moonlight
morning mother mouth music myself mystery naked native naturally nature neat needle neighbour nephew nerve night noble
noise notice oath obey oblige obvious occasion ocean oneself opinion oppose ordinary ourselves oven owed pain palace
palm pardon parent passion path patience pause peace perfect perform permit person pillow pink pity plain plate play
pleasant please pleasure plenty pocket poet polite pond porch possible pour powder praise pray precious prepare pretend
pretty prince promise proper proud prove pull pupil purpose push quarrel quick quickly quiet quietly rain reach readily
ready reason recall refer regret rejoice relax relief remark remind rescue rest revive ride ring risk roar roof rough
rude ruin rush sacred safe said sail salute sand scarce scene scold scratch scream secret seek seem send sensible
serious settle shade shadow shake shame sharp shelf shine shock shone shout shown sight silence silent silk silly simple
sincere sing sister skill sleep slender slow slowly smart smell smile smoke smooth snow soap soft soldier solid somehow
soon sorrow sorry soul sound spare speak spend spirit splendid spoke spread staircase stare steady steal steep stick
stir stone stood storm story straight stranger stream strength strict stupid succeed sudden suddenly suffer suit sunny
suppose surely surprise sweep swim sword sympathy tail talent talk taste tear tease tender terrible thank theirs
themselves thing think thirst thorn thought thrill thumb thunder tidy tight tired tongue touch tough toward trace travel
treasure tremble trick trouble truth turn twist ugly uncle understand unhappy upright upset upstairs useful usual vain
valley vanish vast velvet verse victory virtue visible voice wage wagon wait wake walk wander warm warn wash watch water
wealth wear weary weather wedding weep weird welcome went whenever whereas whisper whistle whoever whom wicked widow
wild willing window wine wing wipe wisdom wise wish wonder wool world worry worship wrap wrist yawn yesterday yonder
youth
""".split()

# What the demonstration and its comparative adjectives (older, cheaper, ...) speak of; never in a held-back group.
_FIRST_GROUP = frozenset(
    "user order product name age price height weight length city title salary email country".split()
)

_ONSETS = "b br c cl d dr f fl g gr h j k kr l m n p pl qu r s sk st t tr v w z th sh ch".split()
_VOWELS = "a e i o u a e i o ai ea oo ou".split()
_CODAS = "n r l m t k d p nd rt lk mp nt rm".split() + [""] * 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Oddity:
    """``share`` of the invented words are put together from letters and fragments instead of syllables.

    ``pieces`` (a tokenizer's alphabetic tokens) are what the fragments are if there are any: with them a model meets
    every token of its vocabulary where it has to copy it.
    """

    share: float = 0.15
    pieces: tuple[str, ...] = ()


def group_of(word: str) -> int:
    """The group, 0..NUM_GROUPS-1, that ``word`` belongs to whatever its capitals."""
    lowered = word.lower()
    return 0 if lowered in _FIRST_GROUP else hashlib.sha256(lowered.encode()).digest()[0] % NUM_GROUPS


def group_name(group: int) -> str:
    return f"words-{group}"


GROUPS = tuple(group_name(group) for group in range(NUM_GROUPS))


class Vocabulary:
    """Draws words of one group.

    Identifiers are drawn with ``schema``, everything else with ``rng``: the same ``schema`` seed gives the same
    tables, keys or function names again, asked about in another way.

    Invariant: every part of a word that a method returns satisfies ``group_of(part) == group``.
    """

    def __init__(
        self, group: int, rng: random.Random, *, schema: random.Random | None = None, oddity: Oddity | None = None
    ) -> None:
        self.group = group
        self.rng = rng
        self.schema = schema or rng
        self._oddity = oddity or Oddity()

    def invented(self, rng: random.Random | None = None) -> str:
        """An invented lower-case word of two or three syllables."""
        rng = rng or self.schema
        while True:
            word = self._odd_word(rng) if rng.random() < self._oddity.share else _syllables(rng)
            if group_of(word) == self.group and not word.endswith("s") and word not in _RESERVED:
                return word

    def _odd_word(self, rng: random.Random) -> str:
        if rng.random() < 0.4:
            return "".join(rng.choice(string.ascii_lowercase) for _ in range(rng.randint(3, 8)))
        return "".join(self._fragment(rng) for _ in range(rng.randint(1, 3)))

    def _fragment(self, rng: random.Random) -> str:
        if self._oddity.pieces:
            return rng.choice(self._oddity.pieces).lower()
        word = rng.choice(rng.choice((TABLES, NUMERIC_COLUMNS, TEXT_COLUMNS)))
        start = rng.randrange(len(word) - 1)
        return word[start : start + rng.randint(2, 6)]

    def table(self) -> str:
        """A singular entity noun."""
        return self._listed(TABLES) if self.schema.random() < 0.5 else self.invented()

    def numeric_column(self) -> str:
        return self._identifier(NUMERIC_COLUMNS)

    def text_column(self) -> str:
        return self._identifier(TEXT_COLUMNS)

    def date_column(self) -> str:
        if self.schema.random() < 0.6:
            return self._listed(DATE_COLUMNS)
        return f"{self.invented()}_{self.schema.choice(('date', 'on', 'at'))}"

    def relationship(self) -> tuple[str, str]:
        """A relationship type and the verb that people say for it, e.g. ("LIVES_IN", "live in")."""
        mine = _of_group(_RELATIONSHIP_KEY, self.group)
        if mine and self.schema.random() < 0.65:
            entry = self.schema.choice(mine)
            name, verb = entry.split(":")
            return name, verb.replace("_", " ")
        word = self.invented()
        return word.upper(), word

    def function_name(self, *, verbs: Sequence[str] = VERBS) -> str:
        """A name such as ``pick_orders`` or ``tavelo_brinsk``."""
        first = self.schema.choice(_of_group(tuple(verbs), self.group) or [self.invented()])
        return f"{first}_{self._listed(TABLES) if self.schema.random() < 0.4 else self.invented()}"

    def distinct(self, count: int, draw: Callable[[], Word], *, taken: Sequence[Word] = ()) -> list[Word]:
        """``count`` different words that ``draw`` draws."""
        words: dict[Word, None] = {}
        while len(words) < count:
            if (word := draw()) not in taken:
                words[word] = None
        return list(words)

    def _identifier(self, listed: list[str]) -> str:
        draw = self.schema.random()
        if draw < 0.5:
            return self._listed(listed)
        if draw < 0.8:
            return self.invented()
        first = self._listed(listed) if self.schema.random() < 0.5 else self.invented()
        return f"{first}_{self._listed(listed) if self.schema.random() < 0.5 else self.invented()}"

    def _listed(self, words: list[str], rng: random.Random | None = None) -> str:
        mine = _of_group(tuple(words), self.group)
        return (rng or self.schema).choice(mine) if mine else self.invented(rng)

    def value(self) -> str:
        """A text value of one word, sometimes two."""
        word = self.value_word()
        return f"{word} {self.value_word()}" if self.rng.random() < 0.15 else word

    def value_word(self) -> str:
        rng, pieces = self.rng, self._oddity.pieces
        if pieces and rng.random() < self._oddity.share:
            while True:  # capitals stay where the tokens have them
                word = "".join(rng.choice(pieces) for _ in range(rng.randint(1, 3)))
                if group_of(word) == self.group:
                    return word
        if rng.random() < 0.45:
            return self._listed(rng.choice((GIVEN_NAMES, PLACES, PLAIN_VALUES)), rng)
        word = self.invented(rng)
        return word.capitalize() if rng.random() < 0.6 else word

    def integer(self) -> int:
        """A non-negative whole number, small ones more often."""
        return self.rng.randrange(10 ** self.rng.choice((1, 2, 2, 3, 4)))

    def date(self) -> str:
        rng = self.rng
        return f"{rng.randint(1980, 2025)}-{rng.randint(1, 12):02}-{rng.randint(1, 28):02}"


def _syllables(rng: random.Random) -> str:
    count = rng.choice((2, 2, 3))
    return "".join(rng.choice(_ONSETS) + rng.choice(_VOWELS) for _ in range(count)) + rng.choice(_CODAS)


_RELATIONSHIP_KEY = tuple(RELATIONSHIPS)
_RESERVED = frozenset(
    "as do else for fn if impl in is let loop match mod move mut or pub ref self super trait true type use while "
    "and def del elif from lambda none not pass raise try with yield case const enum export new null this var void "
    "all any by desc asc end group having join like limit null on order select set then when where create merge".split()
)
_by_group: dict[tuple[str, ...], list[list[str]]] = {}


def _of_group(words: tuple[str, ...], group: int) -> list[str]:
    """The words of one group; the lists are sorted into groups once."""
    if words not in _by_group:
        groups: list[list[str]] = [[] for _ in range(NUM_GROUPS)]
        for word in words:
            groups[group_of(word.split(":")[0])].append(word)
        _by_group[words] = groups
    return _by_group[words][group]
