"""What the user of the conversation scenarios says, and what the scripted language model answers."""

from __future__ import annotations

import dataclasses
from typing import Literal

Language = Literal["en", "zh"]

QUESTIONS: dict[Language, tuple[str, ...]] = {
    "en": (
        "What is the tallest mountain in the world?",
        "Can you tell me what the weather is like in spring?",
        "How long does it take to learn the piano?",
        "Where do you usually spend your summer holidays?",
        "Please tell me something about the old town.",
        "Which of these two books would you read first?",
        "Could you explain how a bicycle stays upright?",
        "What should I cook for my friends tonight?",
        "Do you know a good place for a cup of coffee?",
        "Why is the sky blue in the morning?",
        "I would like to know when the museum opens.",
        "How many people live in this beautiful city?",
        "Is there a train to the airport this evening?",
        "Who painted the picture on the left?",
    ),
    "zh": (
        "世界上最高的山是哪一座？",
        "请问你们的博物馆几点开门？",
        "你能给我介绍一下这座城市吗？",
        "今天晚上我应该做什么菜？",
        "从这里到机场需要多长时间？",
        "你最喜欢什么季节？",
        "为什么天空是蓝色的？",
        "学习弹钢琴需要多少年？",
        "请告诉我附近有没有好喝的咖啡。",
        "明天去长城的火车几点出发？",
        "你觉得我应该先看哪一本书？",
        "这幅画是谁画的？",
        "北京的春天常常下雨吗？",
        "我想知道这里有多少人居住。",
    ),
}
"""Of the kinds that are put to a presenter, 8 to 12 words or 8 to 14 characters, without names or numbers."""

ANSWERS: dict[Language, tuple[str, ...]] = {
    "en": (
        "That is a good question. I will show you.",
        "Of course, I can help you with that.",
        "Most people like it very much, and so do I.",
        "It is not far from here. You can walk.",
        "Let me think, I believe it is quite easy.",
        "Yes, there is one, right behind the station.",
    ),
    "zh": (
        "这个问题很好，我来告诉你。",
        "当然可以，我很乐意帮忙。",
        "大家都很喜欢，我也喜欢。",
        "离这里不远，可以走过去。",
        "让我想一想，其实很简单。",
        "有的，就在车站的后面。",
    ),
}
"""One or two sentences of 2 to 3 s; the first clause is short, as a model told to speak writes it."""

STORIES: dict[Language, str] = {
    "en": (
        "Long ago there was a small village between two rivers, and in that village lived a woman who repaired clocks. "
        "Every morning she opened her window and listened, because she could hear which clock was late. "
        "People came from far away with their watches, and she never asked for money. "
        "One day a traveller brought her a clock without hands, and nobody could say what it was good for. "
        "She kept it for a whole winter, turned it in the light and wrote down all that she saw. "
        "In spring she understood that it did not show hours at all, but the distance to the sea."
    ),
    "zh": (
        "很久以前，两条河的中间有一个小村子，村子里住着一位修钟表的女人。"
        "每天早上她打开窗户听一听，就知道哪一只钟走得慢。"
        "人们从很远的地方带着手表来找她，她从来不收钱。"
        "有一天，一位旅人带来一只没有指针的钟，谁也说不出它有什么用处。"
    ),
}
"""What she is interrupted in: half a minute in English, a quarter of one in Chinese."""

OVER_HER = (
    "Sorry, what was the name of the village?",
    "Wait, I have another question for you.",
    "Stop, tell me something else please.",
    "Excuse me, where did this happen?",
    "Can you tell me about the weather instead?",
    "Please be quiet for a moment.",
    "No, I do not want to hear that story.",
    "How long is this going to take?",
    "Could you speak about something shorter?",
    "Hold on, who was the traveller?",
    "I think we should talk about music.",
    "That is enough, thank you very much.",
)
"""What is said over her."""

LISTENING = ("Mm-hmm.", "Uh-huh.", "Yeah.")
"""What is said over her without the wish to be heard."""


@dataclasses.dataclass(frozen=True, slots=True)
class Speaker:
    """Somebody who talks to her."""

    voice: str
    """Of this product's; hers are hibari:heart and kokoro:zf_xiaoyi."""
    speed: float


SPEAKERS: dict[Language, tuple[Speaker, ...]] = {
    "en": (Speaker("kokoro:am_michael", 1.0), Speaker("kokoro:bf_emma", 1.05), Speaker("kokoro:af_bella", 1.1)),
    "zh": (Speaker("kokoro:zm_yunxi", 1.0), Speaker("kokoro:zf_xiaoxiao", 1.0), Speaker("kokoro:zm_yunjian", 1.1)),
}
