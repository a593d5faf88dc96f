"""Whether a text sounds finished: `judge` says finished, unfinished or wait, as TEN's classifier does, by rule.

What it reads is recognised from an utterance that has just paused, so its marks say little: Whisper ends nearly
everything with a full stop. The rule looks for what cannot stand at an end: closed classes in both languages.

* English: Quirk et al., A Comprehensive Grammar of the English Language (1985), chapters 2 and 9. Prepositions and
  auxiliaries may end a question, a relative clause or a short answer ("where are you from", "what it is", "yes I can").
* Chinese: Lü Shuxiang, 现代汉语八百词 (1980). Conjunctions, coverbs, degree adverbs and numeral with measure word want
  what follows; a sentence particle (吗 呢 吧 …) wants nothing.

"Unfinished" makes the listener wait for longer, never for ever: a wrong one costs a second, and not an answer.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Literal

Verdict = Literal["finished", "unfinished", "wait"]

JUDGED_CHARACTERS = 300
"""Of a text's end; half a minute of speech has more only when it is rubbish, which must not take long to judge."""


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_PRONOUNS = "i you he she it we they"
_SUBJECTS = f"(?:{_PRONOUNS.replace(' ', '|')}|this|that|there|these|those)"
_AUXILIARIES = (
    "is are was were am be been being has have had do does did will would can could shall should may might must isn't"
    " aren't wasn't weren't don't doesn't didn't won't wouldn't can't couldn't shouldn't haven't hasn't gonna wanna"
)
EN_OPEN = _words(
    # Conjunctions and relative words; articles and determiners.
    "and or but nor because although though if unless until while whereas when whenever where wherever whether than"
    " that which who whom whose as what why how a an the my your his their our its every each another some these those"
    # Prepositions.
    " of at by with into onto between among from to for during through towards toward against without within beside"
    " despite except per via like about past"
    # Subjects without their verb; auxiliaries, and verbs that want an object or a clause.
    f" i he she we they i'm you're he's she's we're they're i've you've we've they've i'll you'll he'll she'll we'll"
    f" they'll i'd you'd he'd she'd we'd they'd it's that's there's let's {_AUXILIARIES} want wants wanted need needs"
    " needed tell told said says"
    # Degree words and fillers.
    " very quite rather extremely almost um uh er erm hmm mm"
)
_EN_OPEN_TAIL = re.compile(
    r"\b(?:you know|i mean|sort of|kind of|such as|for example|even if|as soon|so that|and then|not only"
    r"|the (?:first|last|next|same|most|only)|(?:and|but|or|so) (?:maybe|perhaps|also|just|then|because)"
    r"|(?:tell|give|show|ask|remind|send|bring|teach|told|gave|showed|asked|sent)s? (?:me|you|him|her|us|them)"
    rf"|{_SUBJECTS} (?:think|thought|guess|believe|hope|wish|mean|usually|always|often|never|really|also|just|still)"
    r"|depends on|interested in|(?:live|lived|born|arrive|arrived) in|minus|plus|comma|point|dot|percent of)$"
)
_EN_CLOSES_SO = _words("think hope guess suppose say said do if or so")
"""Behind one of these "so" does not begin what follows."""
_EN_PARTICLES = _words("in on")
_EN_PHRASAL = re.compile(
    r"\b(?:come|came|go|going|get|got|let|turn|put|switch|hold|hang|move|carry|log|try|check|sign|count|give|believe)\b"
)
"""With one of these verbs "in" and "on" may end a sentence: "come in", "turn it on"."""
_EN_QUESTION = re.compile(
    r"^(?:(?:and|so|but|well|okay|ok) )?(?:what's|where's|who's"
    rf"|(?:what|where|who|whom|which|how)\b(?! long| much| many| {_SUBJECTS}\b))"
)
_EN_STRANDED = _words(f"of at by with into from to for about like in on want need said {_PRONOUNS} {_AUXILIARIES}")
"""May end a question or a relative clause: "what are you looking for", "I know where it is"."""
_EN_QUESTION_WORDS_MOST = 8
"""A longer one has room for a clause that is still open: "what do you think about the house that"."""
_EN_RELATIVE = re.compile(
    rf"\b(?:what|where|who|how|all|everything|way|thing|than)(?: \w+){{0,2}} {_SUBJECTS} \S+$"
    r"|\b(?:what|where|who) (?:the|my|your|his|her|our|their)(?: \w+){1,3} (?:is|are|was|were)$"
)
_EN_ANSWER = re.compile(
    r"(?:(?:yes|no|yeah|sure|sorry|of course|maybe|so|but|and) )*"
    rf"(?:{_SUBJECTS} (?:{_AUXILIARIES.replace(' ', '|')})(?: not)?"
    r"|(?:i|we|i'd|we'd)(?: would)? love to|(?:i|we) (?:have|don't (?:want|have|need)) to"
    r"|very well|why|how|what|when|where|who|which|why not|how about you|what about you|what for|like (?:this|that))"
)
"""All of an utterance that may be an answer although its last word is open: "yes I can", "I'd love to"."""
_EN_CONDITION = re.compile(
    r"^(?:(?:and|but|so|well|okay) )?(?:if|although|though|unless|while|whenever|as soon as|because|since|before|after"
    r"|once|when (?!(?:is|are|was|were|do|does|did|will|can|should)\b))\b"
)
_EN_CONDITION_WORDS_MOST = 8
"""A longer one has its main clause, with or without a comma."""
_EN_WAIT = re.compile(
    r"(?:(?:oh|um|uh|hmm|well|ok|okay|sorry|no|please|now|just|can you|could you|would you|hey) )*"
    r"(?:(?:wait|hold on|hang on|hold it)(?: wait)*(?: (?:just )?(?:a|one) (?:moment|second|minute|sec|bit))?"
    r"|(?:a|one) (?:moment|second|minute|sec)|give me (?:a|one) (?:moment|second|minute|sec)"
    r"|let me (?:think|see)(?: about (?:it|that))?|stop(?: it| talking)?|be quiet|shut up|quiet|not now)"
    r"(?: please| for me| now)*"
)

ZH_OPEN = _words(
    # Conjunctions.
    "因为 所以 但是 可是 不过 然后 而且 并且 或者 还是 如果 要是 虽然 尽管 即使 只要 只有 除非 比如 比如说 例如"
    " 那么 和 跟 与 及 以及 另外 于是 接着 结果 而 却 但 或 若 既 不但 不仅 不管 无论 由于 为了 除了 首先 其次 因此"
    # Coverbs, and verbs that want an object or a clause.
    " 在 把 被 给 对 从 向 往 用 为 比 让 叫 关于 对于 根据 按照 通过 告诉 问 说 讲 想 想要 要 需要 觉得 认为"
    " 以为 希望 打算 考虑 发现 是 有 帮 请 请问 能 可以 会 应该 必须 能不能 可不可以 是不是 有没有 要不要 知不知道"
    # Adverbs, pronouns, and what makes a clause the beginning of another.
    " 很 非常 特别 比较 最 更 太 都 也 就 又 再 不 别 已经 正在 可能 一直 常常 经常 一般 大概 怎么"
    " 我 你 您 他 她 它 我们 你们 他们 她们 咱们 这 那 这些 那些 的话 的时候 以后 之后 之前 以前"
    # Fillers.
    " 嗯 呃 额 唔 就是 就是说 怎么说 这个 那个"
)
_ZH_OPEN = re.compile("(?:" + "|".join(sorted(ZH_OPEN, key=len, reverse=True)) + ")$")
_ZH_MEASURE = re.compile(
    r"[一二两三四五六七八九十半每某这那\d](?:个|张|本|位|家|种|件|条|杯|些|只|份|勺|块|台|辆|座|首|部|双|点)$"
)
"""A numeral or demonstrative and a measure word, without the noun."""
_ZH_ROUTE = re.compile(r"从.+[到去]$")
_ZH_CLOSED = re.compile(
    r"(?:[吗呢吧啊呀啦嘛哦]|[什多]么|谁|一点|几点|(?:上午|中午|下午|早上|晚上|今天|明天)?[0-9一二两三四五六七八九十]+点"
    r"|(?:谢谢|感谢|给|问|爱|找|认识|喜欢|等|陪|想|见到|相信|打扰|麻烦)(?:我|你|您|他|她)(?:们)?|没有)$"
)
"""Ends that are whole although their last characters are in the lists above."""
_ZH_ANSWER = re.compile(
    r"(?:嗯|哦|啊|对|好|那|我|也|都|就|不|是|没)?(?:是|有|没有|不|会|要|想|能|可以|行|不想|不要|不会|不能|应该|需要|这个|那个|都要|都是|不是|也是)"
)
"""All of an utterance that may be an answer."""
_ZH_DE = re.compile(r"[^是真好对行]的$")
_ZH_IS_DE = re.compile(r"是.{1,12}的$|[挺蛮够].{1,6}的$|会.{1,3}的$")
_ZH_PAIRS = (
    (
        re.compile(r"^(?:那|但是|不过)?(?:如果|要是|假如|万一|只要|等[我你他]|等到)"),
        re.compile(r"就|那|会|怎么|吗|呢|吧|可以|[，,]."),
    ),
    (re.compile(r"^(?:虽然|尽管)"), re.compile(r"但|可是|不过|还是|也|却")),
    (re.compile(r"^(?:由于|除了|不但|不仅|不管|无论|既然|为了|因为)"), re.compile(r"所以|还|也|都|而且|就|[，,].")),
)
"""Beginnings, and what shows that the other half is there."""
_ZH_WAIT = re.compile(
    r"(?:嗯|呃|额|哦|啊|喂|那个|好的?|不|请你?|麻烦你?|你|先|能不能|可以)*"
    r"(?:等一?下|等一等|等等|等一?会儿?|稍等(?:一下|片刻)?|等我一下|等我想想|(?:让)?我(?:想想|想一想|想一下|看看|看一下)"
    r"|别说了|别说话|别讲了|先别说|安静|闭嘴|停|停一?下|停下来|打住|慢着|一会儿再说)[啊吧哦呀嘛先我]*"
)

_SIMPLIFIED = str.maketrans(
    "為雖還後個們這嗎給說請問時話點會應該沒對從於經讓覺認張條塊臺輛碼電謝兩幾誰樣麼來過別開關據將與並論無種愛見擾煩簡單號",
    "为虽还后个们这吗给说请问时话点会应该没对从于经让觉认张条块台辆码电谢两几谁样么来过别开关据将与并论无种爱见扰烦简单号",
)
"""Characters of the lists above in the script that Whisper writes when it is not told otherwise."""

_NUMBER_GIVEN = re.compile(r"(?:phone|number|code|telephone|mobile|电话|号码|手机号|验证码|密码|卡号)(.*)$")
_DIGITS = re.compile(
    r"\d|[零一二三四五六七八九幺]|\b(?:zero|oh|one|two|three|four|five|six|seven|eight|nine|double|triple)\b"
)
_PHONE_DIGITS = {"en": 7, "zh": 11}
"""Fewer are no telephone number: the local part of the North American plan, and a Chinese mobile number."""
_HAN = re.compile(r"[\u4e00-\u9fff]")
_TAIL_MARKS = re.compile(r"[\s.!,;:。、…\"“”()\-—~]+$")
_OPEN_MARKS = (",", "、", "…", "...", "-", "—")


def judge(text: str, language: str | None = None) -> Verdict:
    """What the text of an utterance that has just paused says of its end.

    Args:
        text: as recognised, of one language or mixed; the empty text is unfinished.
        language: BCP 47 primary tag; what is written in Chinese at the end is judged as Chinese whatever it says.
    """
    text = unicodedata.normalize("NFKC", text[-JUDGED_CHARACTERS:]).strip().lower().replace("’", "'")
    text = text.translate(_SIMPLIFIED)
    bare = _TAIL_MARKS.sub("", text)
    if not bare:
        return "unfinished"
    is_chinese = bool(_HAN.search(bare if language == "zh" else bare[-6:]))
    last_clause = re.split(r"[,.;。!?]\s*", bare.rstrip("? "))[-1]
    plain = re.sub(r"[\s,.、]+", "" if is_chinese else " ", bare.rstrip("? "))
    wait = _ZH_WAIT if is_chinese else _EN_WAIT
    if wait.fullmatch(plain) or wait.fullmatch(last_clause):
        return "wait"
    if text.endswith("?"):
        return "finished"
    if text.endswith(_OPEN_MARKS) or _number_is_open(bare, "zh" if is_chinese else "en"):
        return "unfinished"
    return "unfinished" if (_zh_is_open(bare) if is_chinese else _en_is_open(bare)) else "finished"


def lacks_mark(text: str) -> bool:
    """Whether no mark that ends sentences stands at its end, which is a doubt where recognisers set such marks.

    Whisper does in English (98 of 100 whole sentences, half of those that break off). In Chinese it depends on the
    beam and the prompt, so nothing is made of it there.
    """
    end = text.rstrip("\"'”’)） ")
    return end.endswith("...") or not (end.endswith((".", "?", "!", "。", "？", "！")) or _HAN.search(end[-6:]))


def _en_is_open(text: str) -> bool:
    """Whether an English text, lower case and without its last marks, wants to go on."""
    sentence = re.split(r"[.!?;]\s+", text)[-1]
    words = re.findall(r"[a-z0-9']+", sentence)
    plain = " ".join(words)
    if not words or _EN_ANSWER.fullmatch(plain):
        return False
    if words[-1] in _EN_STRANDED and len(words) > 2:
        is_question = _EN_QUESTION.match(plain) and len(words) <= _EN_QUESTION_WORDS_MOST
        if is_question or _EN_RELATIVE.search(plain):
            return False
    if words[-1] in _EN_PARTICLES and not _EN_PHRASAL.search(plain):
        return True
    if words[-1] == "so" and len(words) > 1 and words[-2] not in _EN_CLOSES_SO:
        return True
    if words[-1] in EN_OPEN or _EN_OPEN_TAIL.search(plain):
        return True
    is_condition = _EN_CONDITION.match(plain) and "," not in sentence and " then " not in plain
    return bool(is_condition) and len(words) <= _EN_CONDITION_WORDS_MOST


def _zh_is_open(text: str) -> bool:
    """Whether a Chinese text without its last marks wants to go on."""
    sentence = re.split(r"[。!?;]", text)[-1].strip()
    last = re.split(r"[,、]", sentence)[-1].strip()
    if _ZH_ANSWER.fullmatch(sentence):
        return False
    for begins, completes in _ZH_PAIRS:
        found = begins.match(sentence)
        if found and not completes.search(sentence[found.end() :]):
            return True
    if _ZH_CLOSED.search(last):
        return False
    if _ZH_DE.search(last) and not _ZH_IS_DE.search(last):
        return True
    return any(open_end.search(last) for open_end in (_ZH_OPEN, _ZH_MEASURE, _ZH_ROUTE))


def _number_is_open(text: str, language: str) -> bool:
    """Whether somebody who gives a number has not said all of it."""
    given = _NUMBER_GIVEN.search(text)
    digits = len(_DIGITS.findall(given[1])) if given else 0
    return 0 < digits < _PHONE_DIGITS[language]
