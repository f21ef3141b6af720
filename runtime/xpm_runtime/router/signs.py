"""What shows in a prompt without knowing any expert: code, schemas, shapes of data, file names, kinds of question.

A sign is a name (``code:sql``, ``shape:json``, ``asks:definition``). Signs are features of the heads, are held against
the concepts of cards, and say what kind of task a prompt is.
"""

import re
from collections.abc import Sequence

_I, _M, _S = re.IGNORECASE, re.MULTILINE, re.DOTALL

# (sign, what of it must stand in the folded text for the pattern to be worth trying, pattern on the text as it is)
_PATTERNS: Sequence[tuple[str, tuple[str, ...], re.Pattern[str]]] = (
    (
        "code:sql",
        ("select", "insert", "update", "delete", "create", "alter", "join", "group by", "order by"),
        re.compile(
            r"\bselect\b[^.?!]{1,400}\bfrom\b|\binsert\s+into\b|\bupdate\s+\w+\s+set\b|\bdelete\s+from\b"
            r"|\b(create|alter|drop)\s+table\b"
            r"|\b(left|right|inner|outer|full|cross)\s+join\b|\bGROUP BY\b|\bORDER BY\b",
            _I,
        ),
    ),
    (
        "shape:schema",
        ("(",),
        re.compile(
            r"\b[a-z_]\w*\s?\(\s*(id|\w+_id)\b[^()]{0,400}\)|\b(schemas?|tables?|tabellen?|tablas?|表"
            r"|表结构)\s*[:：]?\s*[\"'`]?\w+\s?\(\s*\w+"
            r"|\bschema:",
            _I,
        ),
    ),
    ("code:cypher", ("(", "["), re.compile(r"\(\w*:[A-Z]\w*|-\[:?\w*[^\]]{0,60}\]-|\]->|<-\[")),
    (
        "code:python",
        ("def ", "import", "class ", "print(", "self", ".py", "elif", " in ", "lambda", "__", "error: "),
        re.compile(
            r"\bdef\s+\w+\s*\(|^\s*(from\s+[\w.]+\s+)?import\s+\w+\s*($|,|as\b)"
            r"|^\s*class\s+\w+.{0,60}:\s*$|\bprint\(|\bself\.\w|\w\.py\b"
            r"|\belif\b|\bfor\s+\w+\s+in\s+[\w.()]+:|\blambda\s+\w+\s*:|__\w+__|\b(Key|Index|Type"
            r"|Attribute|Value|Name)Error\b",
            _M,
        ),
    ),
    (
        "code:typescript",
        ("function", "const ", "interface", ": string", ": number", ": boolean", ".ts", "=>", "tsc"),
        re.compile(
            r"\bfunction\s+\w+\s*(<\w+>)?\([^)]*:\s*\w+|\bconst\s+\w+\s*[:=]"
            r"|\binterface\s+[A-Z]\w*\s*(extends\s+\w+\s*)?\{"
            r"|:\s*(string|number|boolean)\b(\[\])?|\w\.tsx?\b|\btsc\b|\bPromise<|\bRecord<"
        ),
    ),
    (
        "code:javascript",
        ("function", "const ", "let ", "=>", "document", "console"),
        re.compile(
            r"\bfunction\s*\w*\s*\([\w, ]*\)\s*\{|\b(const|let)\s+\w+\s*=|\)\s*=>|\bdocument\.\w|\bconsole\.log"
        ),
    ),
    (
        "code:rust",
        ("fn ", "let mut", "impl", "vec<", "&str", ".rs", "error[e", "::", "option<", "&mut", "unwrap"),
        re.compile(
            r"\bfn\s+\w+\s*(<[^>]*>)?\s*\(|\blet\s+mut\b|\bimpl(<[^>]*>)?\s+\w+(\s+for)?\b.{0,30}\{?"
            r"|\bVec<|&str\b|&mut\b|\w\.rs\b|error\[E\d+"
            r"|\bOption<|\bResult<|\bArc<|\.unwrap\w*\("
        ),
    ),
    (
        "code:java",
        ("public ", "system.", "string[]"),
        re.compile(r"\bpublic\s+(static|class|void|final)\b|\bSystem\.out|\bString\[\]"),
    ),
    (
        "code:go",
        ("func ", "package ", ":="),
        re.compile(r"\bfunc\s+(\(\w+ \*?\w+\)\s*)?\w+\(|^package\s+\w+$|\w\s*:=\s*\w", _M),
    ),
    ("code:cpp", ("#include", "std::", "cout"), re.compile(r"#include\s*[<\"]|\bstd::|\bcout\s*<<")),
    (
        "code:html",
        ("<",),
        re.compile(
            r"</?(div|p|span|a|ul|li|table|tr|td|html|body|head|form|input|button|h[1-6]|img|section|nav)\b[^>]*>", _I
        ),
    ),
    ("code:css", ("{", "px"), re.compile(r"[.#]?[\w-]+(:\w+)?\s*\{[^}\"']*(:[^}\"']*;|\s)\s*\}|\b\d+(px|rem|vh|vw)\b")),
    (
        "code:regex",
        ("\\", "(?", "[", ".*"),
        re.compile(r"\\[dwsbDWS][+*{)\]]?|\(\?[:=!<P]|\[\^?(a-z|0-9|A-Z)|\.\*\??>|^\^.*\$$", _M),
    ),
    (
        "code:shell",
        ("grep", "awk", "sed ", "chmod", "ssh ", "sudo", "xargs", "tar ", "curl ", "#!/", "~/", "| ", "done"),
        re.compile(
            r"(?<!\w)(grep|awk|chmod|chown|sudo|xargs|rsync|crontab|systemctl|ssh|curl)\b|\b(tar|sed)\s+\S"
            r"|#!/|\bfor\s+\w+\s+in\s+[^:\n]*;|\$\(\w|~/\w"
        ),
    ),
    (
        "code:kubernetes",
        ("apiversion", "kubectl", "k8s", "from ", "docker", "backoff", "helm"),
        re.compile(
            r"\bapiVersion:|\bkubectl\b|\bk8s\b|^FROM\s+[\w./-]+(:[\w.-]+)?|\bdocker(file|\s+(run|build"
            r"|compose))\b|BackOff\b|\bhelm\b",
            _M | _I,
        ),
    ),
    ("path", ("/",), re.compile(r"(?<![\w:/<.])(~|\.{1,2})?/(var|etc|usr|home|srv|opt|tmp|root|dev|mnt)\b")),
    (
        "shape:json",
        ("{", "["),
        re.compile(
            r"\{\s*[\"']?[\w -]+[\"']?\s*:\s*[\"'\d\[{tfn-]|\[\s*\{|\{\s*\""
            r"|(?<!\()\[\s*(\"[^\"]{0,60}\"|\d[\d.]*|null|true|false)\s*,"
        ),
    ),
    ("shape:cells", (":", "="), re.compile(r"\b[A-Z]{1,2}\d{1,5}:[A-Z]{1,2}\d{1,5}\b|(^|\s)=[A-Z]{2,}\(")),
    ("shape:table", (",", ";", "\t", "|"), re.compile(r"(^[^\n,;]+([,;\t|][^\n,;\t|]+)+\n){2,}", _M)),
    (
        "shape:equation",
        ("=", "^"),
        re.compile(r"\b\d*[a-z](\^\d)?\s*[-+*/^]\s*\d+[^\n]{0,20}=|\b[a-z]\^\d|\d[a-z]\s*[-+]\s*\d"),
    ),
    (
        "shape:reaction",
        ("+",),
        re.compile(r"\b[A-Z][A-Za-z]?[A-Z0-9]\w*\s*\+\s*[A-Z]\w*|\b[A-Z][a-z]?\d?\s\+\s[A-Z][a-z]?\d"),
    ),
    ("signature", ("(",), re.compile(r"\b(def|fn|function|func)\s+\w+\s*(<[^>]*>)?\s*\(")),
    # clamp(value, low), acronym('as soon as possible')
    ("call", ("(",), re.compile(r"(?<![\w.])[a-z]\w*\((?!id\b)([a-z_]\w*(,\s*[a-z_]\w*)*\)|['\"\[])")),
    ("fence", ("```",), re.compile(r"```")),
)

# Words that people use for a technology: (concept, its names). A card is about those concepts that it names.
_CONCEPTS: dict[str, str] = {
    "sql": "sql sqlite postgres postgresql mysql mariadb tsql plsql text-to-sql bigquery",
    "cypher": "cypher neo4j text-to-cypher property-graph",
    "python": "python python3 py pandas numpy django pytest",
    "typescript": "typescript ts tsx",
    "javascript": "javascript js nodejs",
    "rust": "rust cargo rustc",
    "java": "java jvm spring",
    "go": "golang",
    "cpp": "c++ cpp",
    "csharp": "c# csharp dotnet",
    "php": "php laravel",
    "ruby": "ruby rails",
    "kotlin": "kotlin",
    "swift": "swiftui swift",
    "haskell": "haskell",
    "json": "json jsonl json-schema json-repair",
    "xml": "xml xslt",
    "yaml": "yaml",
    "regex": "regex regexp regexes regular-expressions",
    "shell": "bash shell zsh command-line powershell",
    "html": "html html5",
    "css": "css flexbox tailwind",
    "kubernetes": "kubernetes k8s kubectl docker dockerfile helm devops",
    "spreadsheet": "excel spreadsheet vlookup xlookup google-sheets",
    "latex": "latex",
}
CONCEPT_OF = {name: concept for concept, names in _CONCEPTS.items() for name in names.split()}
LANGUAGES = frozenset(
    "sql cypher python typescript javascript rust java go cpp csharp php ruby kotlin swift haskell regex shell".split()
)
"""Concepts of which an answer is written in one: a prompt that names another is not for an expert of this one."""

# What signs stand for; what is stated by a sign weighs as much as what is named.
CONCEPT_OF_SIGN = {
    "code:sql": "sql",
    "shape:schema": "sql",
    "code:cypher": "cypher",
    "code:python": "python",
    "code:typescript": "typescript",
    "code:javascript": "javascript",
    "code:rust": "rust",
    "code:java": "java",
    "code:go": "go",
    "code:cpp": "cpp",
    "code:html": "html",
    "code:css": "css",
    "code:regex": "regex",
    "code:shell": "shell",
    "code:kubernetes": "kubernetes",
    "shape:json": "json",
    "shape:cells": "spreadsheet",
}

# Questions about a thing itself, small talk and opinions: what a base answers, and an expert that writes code does not.
_ASKS: Sequence[tuple[str, re.Pattern[str]]] = (
    (
        "asks:definition",
        re.compile(
            r"^(so |and |hey |please |can you |could you )*(what('s| is| are| does)|explain|define"
            r"|describe|tell me (about|what)|who (is|was|invented|created)"
            r"|why (is|are|do|does|did)|when (was|did|is)|where (is|are|was|does)|how (does"
            r"|do) \S+( \S+)? work|was (ist|sind|bedeutet)|wer (ist|war|hat)|warum|wozu|wofür"
            r"|erkläre?|erzähl|qu('|’)est[- ]ce|c('|’)est quoi|qui (est|était|a)|pourquoi|à quoi sert"
            r"|explique|qué (es|son|significa)|quién|por qué|para qué|explica"
            r"|cos('|’)è|che cos|o que é|quem)\b"
        ),
    ),
    ("asks:definition", re.compile("是什么|什么是|是谁|为什么|什么意思|是何|とは|って何|誰ですか")),
    (
        "asks:comparison",
        re.compile(
            r"\b(difference between|differences? of|versus|vs\.?|better than|unterschied zwischen"
            r"|différence entre|diferencia entre|pros and cons)\b|区别|の違い"
        ),
    ),
    (
        "asks:opinion",
        re.compile(
            r"\b(should i (learn|use)|worth (learning|it)|what do you think|do you (like|know|think)"
            r"|your opinion|history of|who invented|geschichte (von|der|des)|histoire d"
            r"|historia de|lohnt es sich|big deal|never understood|people mean by)\b"
        ),
    ),
    (
        "asks:nothing",
        re.compile(
            r"^(hi|hello|hey|hallo|moin|salut|bonjour|bonsoir|hola|buenas|buenos|guten (tag|morgen|abend)"
            r"|good (morning|evening|night|afternoon)|thanks?|thank you|danke|merci|gracias"
            r"|ok(ay)?|lol|bye|cheers|you there|how are you|wie geht|ça va|qué tal)\b.{0,40}$|^(你好|谢谢"
            r"|您好|早上好|再见|こんにちは|ありがとう)"
        ),
    ),
)
_ABOUT = frozenset({"asks:definition", "asks:comparison", "asks:opinion"})
_MAKING = re.compile(
    r"\b(writes?|create|generate|implement|build|make|fix|convert|translate|solve|list|show|find|count"
    r"|return|select|schreibe?|erstelle|zeige?|finde|berechne|écris|crée|donne|montre|trouve"
    r"|escribe|crea|muestra|encuentra|calcula)\b|写|创建|查询|显示|转换|翻译"
)
_TONGUES = re.compile(
    r"\b(english|french|german|spanish|italian|portuguese|japanese|chinese|polish|dutch|russian|turkish"
    r"|swedish|greek|arabic|korean|hindi|latin|danish|czech"
    r"|englisch|deutsch|französisch|spanisch|italienisch|russisch|anglais|français|allemand|espagnol"
    r"|italien|japonais|chinois"
    r"|inglés|francés|alemán|español|italiano|portugués|ruso)\b|英语|英文|法语|德语|日语|西班牙语|中文|俄语"
)
_QUOTE = re.compile(r"[\"“„«‘「'][^\"”“»’」']{8,}[\"”“»’」']")
_SHORT, _BRIEF, _LONG = 4, 6, 45
_NAME = re.compile(r"[^\W_][\w+#.-]*[\w+#]|[^\W_]")


def signs_of(text: str, folded: str) -> frozenset[str]:
    """The signs of a prompt.

    Args:
        text: as it was written. folded: the same in one case.
    """
    found = {
        sign
        for sign, parts, pattern in _PATTERNS
        if any(part in folded for part in parts) and pattern.search(text) is not None
    }
    if "code:typescript" in found:
        found.discard("code:javascript")
    if "code:cypher" in found:
        found.discard("code:sql")
    stripped = folded.strip()
    found.update(sign for sign, pattern in _ASKS if pattern.search(stripped) is not None)
    if "call" in found:
        found.discard("call")
        if not found & _ABOUT:  # of what a function is to be called, or to do
            found.add("signature")
    if stripped.endswith(("?", "？")):
        found.add("asks:question")
    if _MAKING.search(stripped) is not None:
        found.add("asks:making")
    if _TONGUES.search(stripped) is not None:
        found.add("tongue")
    if _QUOTE.search(stripped) is not None:
        found.add("quote")
    num_words = stripped.count(" ") + 1
    if "asks:definition" in found and num_words <= _BRIEF and not found & {"tongue", "quote"}:
        found.add("asks:briefly")
    if num_words <= _SHORT:
        found.add("short")
    elif num_words >= _LONG:
        found.add("long")
    return frozenset(found)


def concepts_named(folded: str) -> frozenset[str]:
    """The concepts that a folded text names."""
    found = {CONCEPT_OF[word] for word in _NAME.findall(folded) if word in CONCEPT_OF}
    for phrase, concept in (
        ("regular expression", "regex"),
        ("command line", "shell"),
        ("google sheets", "spreadsheet"),
        ("正则", "regex"),
    ):
        if phrase in folded:
            found.add(concept)
    return frozenset(found)


def is_general(signs: frozenset[str]) -> bool:
    """Whether a prompt asks about something, and nothing is to be made."""
    if "asks:nothing" in signs:
        return True
    asked = signs & _ABOUT
    made = any(each.startswith(("code:", "shape:", "signature", "fence")) for each in signs)
    return bool(asked) and not made
