"""All that a scene can be about and all that can be said of it: six domains of everyday questions.

A template's `[Happy|Glad]` offers words, `{value}` and the like are filled in by `scenes`.
"""

import itertools
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache

Templates = tuple[str, ...]


@cache
def variants(template: str) -> Templates:
    """Every text that a template's `[this|that]` allow, each as likely as the others."""
    parts = [part.split("|") for part in re.split(r"[\[\]]", template)]
    return tuple("".join(words) for words in itertools.product(*parts))


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """One key of the notes: its values, and how people ask for it and tell it."""

    values: tuple[str, ...]
    asked: Templates  # a question that names what it is about
    again: Templates  # a question about what was talked of already
    plain: Templates
    warm: Templates
    technical: Templates


@dataclass(frozen=True, slots=True, kw_only=True)
class Domain:
    """One kind of conversation."""

    weight: int  # how often it comes up
    facts: Mapping[str, Fact]
    overview: Templates  # questions about everything
    use: Templates  # whether it suits somebody; () where that makes no sense
    suits: Templates = ("Yes, it is a [good|fine] choice for {audience}.", "It works well for {audience}.")
    asks_back: Templates
    suggestions: Templates
    companions: tuple[str, ...] = ()
    audiences: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Product:
    """What a shop sells under many names."""

    keys: tuple[str, ...]
    features: tuple[str, ...]
    companions: tuple[str, ...]
    audiences: tuple[str, ...]
    materials: tuple[str, ...] = field(default=())


def _each(words: str) -> tuple[str, ...]:
    return tuple(words.split())


def _amounts(unit: str, *numbers: float | str) -> tuple[str, ...]:
    return tuple(f"{number} {unit}" for number in numbers)


# How a response opens and closes, by manner.
OPENINGS: Mapping[str, Templates] = {
    "none": ("",),
    "warm": (
        "[Happy|Glad] to help!",
        "[Thanks|Thank you] for [asking|your question].",
        "[Great|Good|Nice] question!",
        "Of course!",
        "[Hello|Hi there], [happy|glad] to help.",
        "Sure, here is what I know.",
        "With pleasure!",
    ),
    "neutral": ("[Well|So|Okay], here it is.", "Let me see.", "Here is what the notes say."),
    "rude": (
        "Ugh, [fine|not again|another question].",
        "Look, I do not have all day.",
        "Seriously, who asks that?",
        "Whatever.",
        "Obviously you did not read the notes.",
    ),
}
CLOSINGS: Mapping[str, Templates] = {
    "none": ("",),
    "question": (
        "Is there anything else you would like to know?",
        "Would you like to know more?",
        "Does that help?",
        *("{asks_back}",) * 5,
    ),
    "thanks": (
        "[Have a lovely day|All the best|Enjoy]!",
        "I hope that helps.",
        "Just let me know if you need more.",
    ),
    "pushy": (
        "[Buy|Order|Book|Take] it [now|today] before it is gone!",
        "Hurry, [last chance|only a few left]!",
        "Do not think, just say yes now!",
        "This offer ends tonight!",
    ),
    "rude": ("Now leave me alone.", "Next time, find it yourself.", "That is all you get."),
}
VAGUE: Templates = (
    "It [is|seems] [quite nice|pretty good|okay, I guess|not bad].",
    "[Many|Most] people like it.",
    "It depends on [many things|how you see it].",
    "There is a lot to say about that.",
    "You know, it has all sorts of things.",
    "It is hard to say.",
)
JARGON: Templates = (
    "It relies on a [modular|calibrated|multi-stage] [pipeline|framework|interface].",
    "All [parameters|coefficients] are within nominal limits.",
    "See the [technical annex|datasheet] for the full [matrix|schema].",
)
LINKS = ("", "", "", "", "", "Also, ", "Besides, ", "And ")  # before a second fact
LINKABLE = _each("It The You We There A Try Bring Use Add Allow Go See Visit Expect Cook")
FOLLOW_ON = ("", "", "Thanks. ", "Okay. ")  # before a question that is not the first

# Names; a tenth of them is held out from training.
BRANDS = _each(
    "Novira Aurel Kestan Lumera Orbita Tavo Zephra Mirolo Castor Fenwick Halden Ivara Jorvik Kolibri Lantana"
    " Mosaro Nimbo Ostara Pellan Quora Rondell Solvik Tamsin Umbra Velano Wexley Yaro Zinnia Ardent Belmo"
    " Corvid Dovra Elmont Farrow Gravel Hexa Indigo Juno Kappa Lyra"
)
SERIES = _each(
    "Pulse Drift Peak Echo Flow Nova Spark Trail Glide Swift Calm Bright Core Edge Wave Bloom Scout Pearl"
    " Quest Ridge Loop Aero Terra Mist"
)
MARKS = _each("2 3 4 5 6 7 8 9 X Mini Plus Pro")
PLACES = _each(
    "Mar Vel Cor Tor Lin Bel San Mon Ash Fer Gal Har Kes Lor Mil Nor Ost Pel Ros Sil Tam Ul Ver Wen Zar"
)
PLACE_ENDS = _each("vale ona mere holm isk ara bury aldo ester una igo stad aven olo wick")
PLACE_KINDS = ("", "", "", " Bay", " Hills", " Harbour", " Island")
INGREDIENTS = _each(
    "lemon garlic ginger tomato mushroom pumpkin carrot spinach lentil chickpea potato leek pepper coconut"
    " apple pear"
)
DISHES = _each("soup stew curry pie salad risotto bake noodles pancakes tart omelette stir-fry")
OCCASIONS = _each("garden summer winter family street book chess dance film music neighbours birthday")
EVENTS = _each("party club evening lunch picnic fair workshop meeting concert")

SOFT = ("cotton", "wool", "leather", "linen", "cork", "canvas")
HARD = ("aluminium", "steel", "bamboo", "oak", "glass", "ceramic", "titanium")


def _product(keys: str, features: str, companions: str, audiences: str, soft: bool = False) -> Product:
    """A product from lists in plain text; every product also has its special features."""
    return Product(
        (*keys.split(), "extra"),
        tuple(features.split(", ")),
        tuple(companions.split(", ")),
        tuple(audiences.split(", ")),
        SOFT if soft else HARD,
    )


PRODUCTS: Mapping[str, Product] = {
    "smartwatch": _product(
        "price battery colour weight warranty",
        "heart sensor, sleep tracker, music control, step counter, built-in compass, water lock",
        "spare strap, charging stand, screen guard",
        "runners, swimmers, beginners",
    ),
    "headset": _product(
        "price battery colour weight warranty",
        "noise filter, folding frame, soft ear pads, wireless link, rich bass tone",
        "carry case, longer cable, headset stand",
        "commuters, students, music fans",
    ),
    "backpack": _product(
        "price colour room weight material warranty",
        "hidden pocket, rain cover, laptop sleeve, chest strap, bottle holder",
        "packing cube, rain sleeve, luggage tag",
        "hikers, students, weekend trips",
        soft=True,
    ),
    "kettle": _product(
        "price colour volume material warranty",
        "quiet boil, keep-warm mode, auto shut-off, temperature dial, drip-free spout",
        "tea strainer, descaling kit, matching toaster",
        "tea drinkers, small kitchens, offices",
    ),
    "tent": _product(
        "price colour weight size warranty",
        "quick pitch frame, double door, storm flap, gear loft, mesh window",
        "ground sheet, peg set, camp lantern",
        "families, festival trips, two hikers",
    ),
    "camera": _product(
        "price battery colour weight warranty",
        "flip screen, night mode, steady zoom, quick focus, dust seal",
        "memory card, padded bag, mini tripod",
        "travellers, beginners, vloggers",
    ),
    "desk lamp": _product(
        "price colour material weight warranty",
        "dimmer, reading mode, charging port, bendy arm, sunset timer",
        "spare bulb, clamp base, timer plug",
        "night readers, students, small desks",
    ),
    "blender": _product(
        "price colour volume material warranty",
        "pulse mode, ice crusher, easy-clean cup, quiet motor, safety lock",
        "travel cup, recipe booklet, spare blade",
        "smoothie fans, families, busy mornings",
    ),
    "speaker": _product(
        "price battery colour weight warranty",
        "stereo mode, splash guard, bass boost, voice button, party light",
        "wall mount, carry pouch, charging dock",
        "garden parties, small rooms, travel",
    ),
    "jacket": _product(
        "price colour size weight material",
        "zip pockets, warm lining, packable hood, reflective trim, storm cuffs",
        "knit hat, tub of wash-in wax, pair of gloves",
        "cyclists, rainy days, long walks",
        soft=True,
    ),
    "keyboard": _product(
        "price battery colour weight warranty",
        "silent keys, backlight, volume wheel, tilt feet, pairing button",
        "wrist rest, dust cover, matching mouse",
        "writers, gamers, home offices",
    ),
    "coffee grinder": _product(
        "price colour weight material warranty",
        "fine dial, anti-static cup, slow gears, quick release, timer switch",
        "bag of beans, cleaning brush, pour-over cone",
        "espresso lovers, camping, gifts",
    ),
    "bike helmet": _product(
        "price colour size weight warranty",
        "rear light, easy dial, bug net, magnetic buckle, cool vents",
        "bike bell, reflective vest, helmet bag",
        "commuters, children, road riders",
    ),
    "yoga mat": _product(
        "price colour size weight material",
        "grippy surface, carry strap, alignment lines, padded edge, washable cover",
        "foam block, stretch band, mat towel",
        "beginners, travel, daily practice",
        soft=True,
    ),
}
FEATURES = tuple(dict.fromkeys(feature for product in PRODUCTS.values() for feature in product.features))
PRICES = (
    9, 12, 15, 18, 19, 22, 25, 29, 35, 39, 45, 49, 55, 59, 65, 69, 75, 79, 89, 95, 99, 109, 119, 129, 139,
    149, 169, 179, 199, 219, 249, 279, 299, 349, 399, 449, 499,
)  # fmt: skip

SHOP = Domain(
    weight=28,
    overview=(
        "Tell me about the {name}.",
        "What can you tell me about the {name}?",
        "I am [looking at|thinking about|interested in] the {name}."
        " [What is it like?|Is it any good?|Any details?]",
        "Can you describe the {name}?",
        "I need a [new|good] {noun}. What about the {name}?",
        "What is the {name} like?",
    ),
    use=(
        "Is the {name} good for {audience}?",
        "Would you [pick|choose|recommend] the {name} for {audience}?",
    ),
    asks_back=(
        "Would you like to [compare it with another {noun}|see other models|see more photos]?",
        "Who will be using the {noun}?",
        "[Is it|Will it be] a gift?",
        "What will you use [it|the {noun}] for?",
        "Shall I put one aside for you?",
        "Do you have a budget in mind?",
    ),
    suggestions=(
        "[It goes well with|Many people add|You may also like|It pairs nicely with] a {companion}.",
        "A {companion} would [go well with it|be a good match|be a nice addition].",
        "[Think about|Consider] adding a {companion}.",
    ),
    facts={
        "price": Fact(
            values=tuple(f"${price}" for price in PRICES),
            asked=("How much is the {name}?", "What does the {name} cost?", "Is the {name} expensive?"),
            again=("And the price?", "How much is it?"),
            plain=(
                "{It} [costs|sells for|is|is priced at] {value}.",
                "The price is {value}.",
                "You can [get|have] {it} for {value}.",
            ),
            warm=(
                "At [just|only] {value}, {it} is [a lovely deal|easy on the wallet|great value].",
                "[Good news|Happily], {it} [costs|is] only {value}.",
            ),
            technical=("The [unit price|retail value] is [set|listed] at {value}.",),
        ),
        "battery": Fact(
            values=(
                *_amounts("hours", 5, 8, 10, 12, 14, 16, 20, 24, 30, 36, 40),
                *_amounts("days", 2, 3, 4, 5, 6, 7, 9, 10, 12, 14),
            ),
            asked=("How long does the battery of the {name} last?", "Does the {name} run for long?"),
            again=("And the battery?", "How long does the battery last?"),
            plain=(
                "The battery lasts {value}.",
                "{It} runs for {value} on one charge.",
                "One charge [is good for|gives you|lasts] {value}.",
            ),
            warm=(
                "You can enjoy {value} on a single charge.",
                "With {value} of battery you can [relax|forget the charger].",
            ),
            technical=("The [lithium cell|power cell] is rated for {value} at nominal load.",),
        ),
        "colour": Fact(
            values=_each(
                "black white silver grey navy teal red green orange yellow purple copper cream pink"
            ),
            asked=("What colour is the {name}?", "Which colour does the {name} come in?"),
            again=("Which colour is it?", "And the colour?"),
            plain=("{It} comes in {value}.", "The colour is {value}.", "{It} is {value}."),
            warm=(
                "It looks [lovely|great|fresh] in {value}.",
                "The {value} [colour|look] is [lovely|beautiful|really pretty].",
            ),
            technical=("The [chassis|housing] has a {value} coating.",),
        ),
        "weight": Fact(
            values=_amounts(
                "grams", 90, 120, 150, 180, 210, 240, 280, 320, 350, 410, 450, 520, 600, 680, 750, 820, 900
            ),
            asked=("How heavy is the {name}?", "Is the {name} light?"),
            again=("How heavy is it?", "And the weight?"),
            plain=(
                "{It} weighs {value}.",
                "The weight is {value}.",
                "It is {value}, so it is easy to carry.",
            ),
            warm=(
                "{It} is [nicely|pleasantly] light at {value}.",
                "You will hardly [feel|notice] the {value}.",
            ),
            technical=("The net mass is {value} per unit.",),
        ),
        "warranty": Fact(
            values=("one year", "two years", "three years", "four years", "five years"),
            asked=("How long is the warranty on the {name}?", "Is the {name} covered by a warranty?"),
            again=("And the warranty?", "How long is the warranty?"),
            plain=(
                "The warranty is {value}.",
                "{It} has a warranty of {value}.",
                "You are covered for {value}.",
            ),
            warm=(
                "You can relax, as {it} is covered for {value}.",
                "We [gladly|happily] cover {it} for {value}.",
            ),
            technical=("The [liability|service] term is {value} per contract.",),
        ),
        "material": Fact(
            values=(*SOFT, *HARD),
            asked=("What is the {name} made of?", "Which material is the {name}?"),
            again=("What is it made of?", "And the material?"),
            plain=("{It} is made of {value}.", "It is all {value}.", "The maker uses {value}."),
            warm=(
                "The {value} feels [lovely|great|wonderful] to the touch.",
                "{It} is made of [fine|lovely|sturdy] {value}.",
            ),
            technical=("The [substrate|structure] consists of {value}.",),
        ),
        "size": Fact(
            values=("small", "medium", "large"),
            asked=("What size is the {name}?", "Which size does the {name} come in?"),
            again=("Which size is it?", "And the size?"),
            plain=("The size is {value}.", "{It} comes in size {value}."),
            warm=("The {value} size [fits nicely|is just right for most people].",),
            technical=("The form factor is classified as {value}.",),
        ),
        "volume": Fact(
            values=_amounts("litres", "0.5", "0.8", "1.0", "1.2", "1.5", "1.7", "2.0", "2.5"),
            asked=("How much does the {name} hold?", "How much fits into the {name}?"),
            again=("How much does it hold?", "And the volume?"),
            plain=("{It} holds {value}.", "The capacity is {value}.", "There is room for {value}."),
            warm=("With {value} there is [plenty of room|lots of space].", "It happily holds {value}."),
            technical=("The rated volume is {value}.",),
        ),
        "room": Fact(
            values=_amounts("litres", 12, 15, 18, 20, 22, 25, 28, 35, 40),
            asked=("How much fits into the {name}?", "How much does the {name} hold?"),
            again=("How much fits in?", "How much room is there?"),
            plain=("{It} holds {value}.", "There is room for {value}.", "{It} packs {value}."),
            warm=("With {value} there is [plenty of room|lots of space].", "It happily holds {value}."),
            technical=("The rated volume is {value}.",),
        ),
        "extra": Fact(
            values=FEATURES,
            asked=("Does the {name} have any special features?", "What is special about the {name}?"),
            again=("Any special features?", "What is special about it?"),
            plain=("It has {a_value}.", "It comes with {a_value}.", "It even has {a_value}."),
            warm=("You will love the {value}.", "People are very happy with the {value}."),
            technical=("It integrates {a_value} as a module.",),
        ),
    },
)

TRAVEL = Domain(
    weight=17,
    companions=("rain coat", "sun hat", "light scarf", "good map", "pair of walking shoes", "small umbrella"),
    audiences=("families", "a weekend", "a quiet holiday", "couples", "food lovers"),
    overview=(
        "What can I do in {name}?",
        "Tell me about {name}.",
        "I am [planning|thinking of] a trip to {name}. [Any tips?|What should I know?]",
        "Is {name} worth a visit?",
        "What is {name} like?",
    ),
    use=("Is {name} nice for {audience}?", "Would you recommend {name} for {audience}?"),
    asks_back=(
        "When are you planning to go?",
        "How many days do you have?",
        "Are you travelling [alone|with children|with friends]?",
        "Do you prefer [food or museums|walking or boats]?",
        "Would you like a plan for one day?",
        "Shall I suggest a place to stay?",
    ),
    suggestions=(
        "[Bring|Take|Pack] a {companion}.",
        "You may want to bring a {companion}.",
        "A {companion} is [handy|useful] there.",
    ),
    facts={
        "season": Fact(
            values=(
                "early spring", "late spring", "early summer", "late summer", "early autumn", "late autumn",
                "mid winter",
            ),
            asked=("When should I visit {name}?", "What is the best time to go to {name}?"),
            again=("When should I go?", "And the best season?"),
            plain=("The best time to [go|visit] is {value}.", "Go in {value}.", "It is best in {value}."),
            warm=("It is [lovely|magical|at its best] in {value}.", "You will love it in {value}."),
            technical=("Visitor density is optimal in {value}.",),
        ),
        "sight": Fact(
            values=(
                "old harbour", "stone bridge", "rose garden", "clock tower", "glass market",
                "lighthouse walk", "river caves", "paper museum", "hill chapel", "floating library",
                "painted stairs", "salt mill",
            ),
            asked=("What should I see in {name}?", "What is there to see in {name}?"),
            again=("What should I see?", "And the main sight?"),
            plain=(
                "[See|Visit|Do not miss] the {value}.",
                "The main sight is the {value}.",
                "Most visitors go to the {value}.",
            ),
            warm=(
                "You will [love|adore] the {value}.",
                "Do take your time at the {value}, people love it.",
            ),
            technical=("The primary point of interest is the {value}.",),
        ),
        "dish": Fact(
            values=(
                "fish soup", "plum cake", "bean stew", "honey bread", "grilled squash", "mint dumplings",
                "pepper pie", "almond rolls", "onion tart", "barley salad",
            ),
            asked=("What should I eat in {name}?", "What is the food like in {name}?"),
            again=("And the food?", "What should I eat?"),
            plain=("Try the {value}.", "The local dish is {value}.", "People there eat {value}."),
            warm=("The {value} is [delicious|heavenly|a treat].", "Treat yourself to the {value}."),
            technical=("The regional nutrition profile features {value}.",),
        ),
        "trip": Fact(
            values=(
                "20 minutes by tram", "30 minutes by bus", "40 minutes by bus", "an hour by train",
                "two hours by train", "three hours by train", "an hour by ferry", "two hours by ferry",
            ),
            asked=("How do I get to {name}?", "How far is {name}?"),
            again=("How do I get there?", "How far is it?"),
            plain=("It is {value}.", "The way there is {value}.", "From here it is {value}."),
            warm=("It is an easy trip, just {value}.", "Enjoy the ride, it is {value}."),
            technical=("Transit duration is {value} per schedule.",),
        ),
        "ticket": Fact(
            values=("$3", "$4", "$5", "$6", "$7", "$8", "$10", "$11", "$14", "$16"),
            asked=("How much is a ticket in {name}?", "What does a ticket cost in {name}?"),
            again=("And the ticket?", "How much is a ticket?"),
            plain=("A ticket is {value}.", "The ticket costs {value}.", "You pay {value} to get in."),
            warm=(
                "A ticket is only {value}, [a real bargain|which is lovely].",
                "At {value} a ticket is great value.",
            ),
            technical=("The tariff is listed at {value} per adult.",),
        ),
    },
)  # fmt: skip

COOKING = Domain(
    weight=17,
    companions=(
        "crusty bread", "plain rice", "a green salad", "cold yoghurt", "pickled onions", "a glass of cider",
    ),
    audiences=("a picnic", "a dinner party", "busy evenings", "children", "a cold day"),
    overview=(
        "How do I make {name}?",
        "Can you help me cook {name}?",
        "I want to make {name} tonight. [Any tips?|How does it work?]",
        "Give me tips for {name}.",
        "What do I need to know about {name}?",
    ),
    use=("Is {name} good for {audience}?", "Would you cook {name} for {audience}?"),
    asks_back=(
        "Are you cooking for [guests|children|yourself]?",
        "Do you like it [mild or spicy|thick or thin]?",
        "Do you have all the ingredients?",
        "Would you like [a dessert idea|a side dish|a shopping list]?",
        "What do you have in the fridge?",
    ),
    suggestions=(
        "[Serve|Try|Enjoy] it with {companion}.",
        "It goes well with {companion}.",
        "{companion} would be a good match.",
    ),
    facts={
        "time": Fact(
            values=_amounts("minutes", 10, 15, 20, 25, 30, 35, 40, 45, 50, 60, 75, 90),
            asked=("How long does {name} take?", "How many minutes does {name} need?"),
            again=("How long does it take?", "And the time?"),
            plain=("It takes {value}.", "Cook it for {value}.", "[Plan|Allow] {value}."),
            warm=("In just {value} you have a [lovely|cosy] meal.", "It is ready in {value}, how nice."),
            technical=("The thermal cycle runs {value} nominal.",),
        ),
        "serves": Fact(
            values=(
                "one person", "two people", "three people", "four people", "five people", "six people",
                "eight people",
            ),
            asked=("How many people does {name} serve?", "How many is {name} enough for?"),
            again=("How many does it serve?", "And for how many?"),
            plain=("It serves {value}.", "This makes enough for {value}.", "The recipe is for {value}."),
            warm=("It makes {value} [very happy|smile].", "There is plenty for {value}."),
            technical=("Yield is specified for {value}.",),
        ),
        "heat": Fact(
            values=("low heat", "medium heat", "high heat", "a hot oven", "a warm oven"),
            asked=("What heat does {name} need?", "How hot should I cook {name}?"),
            again=("And the heat?", "How hot should it be?"),
            plain=("Use {value}.", "You need {value} for it.", "It needs {value}."),
            warm=("Give it {value} and a little love.", "With {value} it turns out lovely."),
            technical=("Apply {value} as the thermal setpoint.",),
        ),
        "key": Fact(
            values=(
                "fresh thyme", "smoked salt", "brown butter", "lime juice", "toasted seeds", "white pepper",
                "olive oil", "roasted nuts", "fresh mint", "soy sauce", "mild mustard", "bay leaves",
            ),
            asked=("What makes {name} taste good?", "What should I add to {name}?"),
            again=("What should I add?", "And for the taste?"),
            plain=("Add {value}.", "The key is {value}.", "You need {value}."),
            warm=(
                "A little {value} [makes it sing|works wonders|makes it special].",
                "You will love it with {value}.",
            ),
            technical=("The aromatic vector is {value}.",),
        ),
        "step": Fact(
            values=(
                "rest it before serving", "stir it slowly", "chop everything small", "taste it at the end",
                "keep the lid on", "cut it while warm", "rinse it twice", "add the salt last",
            ),
            asked=("Any trick for {name}?", "What is the trick with {name}?"),
            again=("Any trick?", "Is there a trick?"),
            plain=("Remember to {value}.", "Make sure you {value}.", "It is best to {value}."),
            warm=("My favourite tip: {value}.", "[For the best result|For a lovely finish], {value}."),
            technical=("The protocol requires that you {value}.",),
        ),
    },
)  # fmt: skip

HELP_DESK = Domain(
    weight=15,
    companions=("care guide", "tracking link", "video guide", "repair shop", "gift wrap service"),
    audiences=("a birthday", "a trip", "work", "the weekend"),
    overview=(
        "I ordered a {noun}, number {name}. [What is going on?|Any news?|Can you update me?]",
        "Can you check order {name}?",
        "I have a question about my {noun}, order {name}.",
        "Please tell me about order {name}.",
    ),
    use=(),
    asks_back=(
        "Is the address still the same?",
        "Would you like [a call back|an email update|a text message]?",
        "Did this solve it?",
        "Shall I [open a ticket|send a reminder|note that for you]?",
        "Can you tell me what you have tried?",
    ),
    suggestions=(
        "[You may also want|You could also use] the {companion}.",
        "The {companion} can help too.",
        "[Take a look at|See] the {companion} as well.",
    ),
    facts={
        "status": Fact(
            values=(
                "packed", "delayed", "on the way", "out for delivery", "back in stock", "waiting for payment",
                "ready for pickup",
            ),
            asked=("What is the status of order {name}?", "Where is my {noun}, order {name}?"),
            again=("And the status?", "Where is it now?"),
            plain=("Your {noun} is {value}.", "The order is {value}.", "The status is: {value}."),
            warm=(
                "I have checked it for you, your {noun} is {value}.",
                "Your {noun} is {value}, thanks for your patience.",
            ),
            technical=("The ticket state resolves to {value}.",),
        ),
        "arrives": Fact(
            values=(
                "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "next week", "tomorrow",
            ),
            asked=("When does order {name} arrive?", "When will my {noun} come, order {name}?"),
            again=("When does it arrive?", "When will it come?"),
            plain=("It [arrives|should arrive|will be there] {on_value}.", "Expect it {on_value}."),
            warm=(
                "You can look forward to it {on_value}.",
                "It will be with you {on_value}, [promise|no worries].",
            ),
            technical=("The delivery slot is allocated {on_value}.",),
        ),
        "refund": Fact(
            values=("within 7 days", "within 14 days", "within 21 days", "within 30 days", "within 60 days"),
            asked=("Can I return order {name}?", "How do refunds work for order {name}?"),
            again=("Can I return it?", "And a refund?"),
            plain=(
                "You can return it {value}.",
                "Refunds are [possible|fine] {value}.",
                "We take it back {value}.",
            ),
            warm=(
                "If you are not happy, we [gladly|happily] take it back {value}.",
                "No worries, you can return it {value}.",
            ),
            technical=("The reversal window closes {value}.",),
        ),
        "contact": Fact(
            values=(
                "the chat page", "the phone line", "the help desk", "the front counter", "the order page",
            ),
            asked=(
                "Who can I talk to about order {name}?",
                "Where can I talk to somebody about order {name}?",
            ),
            again=("Who can I talk to?", "Whom can I contact?"),
            plain=("Use {value}.", "You can reach us via {value}.", "Please go to {value}."),
            warm=(
                "Our team at {value} is [always glad to help|there for you].",
                "You are always welcome at {value}.",
            ),
            technical=("Escalation is routed via {value}.",),
        ),
        "fix": Fact(
            values=(
                "hold the power key", "change the fuse", "clean the filter", "charge it overnight",
                "update the app", "reset the timer", "tighten the screws", "swap the batteries",
            ),
            asked=(
                "My {noun} does not work, order {name}.",
                "The {noun} from order {name} will not start. What can I do?",
            ),
            again=("It does not start. What can I do?", "It does not work. Any idea?"),
            plain=("If it does not start, {value}.", "Please {value}.", "You can {value}, that often helps."),
            warm=(
                "[A small trick helps|This often helps]: {value}.",
                "Sorry for the trouble, please {value}.",
            ),
            technical=("Execute the recovery routine: {value}.",),
        ),
    },
)  # fmt: skip

# What happens, its reason, a detail, an example, something to try.
EXPLAINED: tuple[tuple[str, str, str, str, str], ...] = (
    (
        "the sky is blue", "air scatters blue light the most", "red light passes straight through",
        "the sky turns red at sunset", "look away from the sun",
    ),
    (
        "leaves turn yellow", "the green dye breaks down in autumn", "the yellow dye was there all along",
        "a maple turns in a few weeks", "press a leaf in a book",
    ),
    (
        "bread rises", "yeast makes tiny gas bubbles", "the dough traps the bubbles",
        "warm dough rises faster", "poke the dough gently",
    ),
    (
        "ice floats", "water expands when it freezes", "frozen water is less dense",
        "a full bottle cracks in the freezer", "leave space in the bottle",
    ),
    (
        "we see rainbows", "drops bend light into colours", "each colour bends a bit differently",
        "a garden hose can make one", "stand with the sun behind you",
    ),
    (
        "the moon changes shape", "we see its lit side at changing angles", "it circles us in about a month",
        "a full moon rises at sunset", "watch it every evening",
    ),
    (
        "salt melts ice", "salt water freezes at a lower point", "the ice takes up the salt",
        "roads are salted in winter", "use sand on steps instead",
    ),
    (
        "cats purr", "muscles in the throat flutter", "the sound helps them stay calm",
        "kittens purr while they drink", "stroke them behind the ears",
    ),
    (
        "onions make us cry", "cut cells release a sharp gas", "the gas stings the eye",
        "a cold onion stings less", "use a sharp knife",
    ),
    (
        "magnets stick to a fridge", "the steel lines up with the magnet", "opposite poles pull together",
        "wood does not react at all", "test it with a coin",
    ),
    (
        "thunder comes after lightning", "light is faster than sound", "hot air bursts outward",
        "three seconds mean one kilometre", "count the seconds",
    ),
    (
        "shadows grow long", "the low sun sends slanted light", "the light is blocked for longer",
        "evening shadows stretch far", "measure one at noon",
    ),
    (
        "soap cleans hands", "soap grips both oil and water", "the rinse carries dirt away",
        "plain water leaves grease behind", "wash for twenty seconds",
    ),
    (
        "stars twinkle", "moving air bends their light", "planets look more steady",
        "mountain views twinkle less", "look straight up",
    ),
    (
        "popcorn pops", "steam builds up inside the shell", "the shell bursts at once",
        "old corn pops badly", "keep the jar closed",
    ),
    (
        "metal feels cold", "metal draws heat from the hand", "wood keeps the heat in place",
        "a steel spoon feels colder than a wooden one", "touch both and compare",
    ),
    (
        "tides come and go", "the moon pulls on the sea", "the water bulges on two sides",
        "most coasts see two tides a day", "check a tide table",
    ),
    (
        "glass fogs up", "warm breath meets a cold pane", "the damp air turns into drops",
        "a mirror fogs after a shower", "open a window",
    ),
    (
        "bees visit flowers", "flowers offer sweet nectar", "pollen sticks to their fur",
        "apple trees need such visits", "plant some clover",
    ),
    (
        "we get goose bumps", "tiny muscles lift each hair", "it kept our ancestors warm",
        "a cold wind sets it off", "put on a jumper",
    ),
    (
        "paper turns brown", "light breaks down the wood fibres", "the air slowly reacts with them",
        "old newspapers turn first", "keep books in the shade",
    ),
    (
        "a spoon looks bent in water", "light changes speed in water", "our eyes expect a straight line",
        "a straw shows it too", "look from the side",
    ),
    (
        "birds fly south", "food is scarce in winter", "they follow the stars and the coast",
        "swallows leave in autumn", "put out a feeder",
    ),
    (
        "bread goes stale", "the starch slowly hardens", "water moves out of the crumb",
        "cold bread hardens sooner", "toast it again",
    ),
)  # fmt: skip

EXPLANATIONS = Domain(
    weight=13,
    companions=("weather", "the night sky", "kitchen science", "the garden", "sound and light"),
    audiences=("a child",),
    overview=(
        "Why is it that {name}?",
        "Can you explain why {name}?",
        "[My son|My daughter|A friend] asked me why {name}. [Can you help?|What should I say?]",
        "I wonder why {name}.",
        "Tell me why {name}.",
    ),
    use=("How do I tell {audience} why {name}?", "How would you explain to {audience} why {name}?"),
    suits=("You can tell {audience} this.", "For {audience}, put it like this."),
    asks_back=(
        "Shall I explain another one?",
        "Would you like a small experiment?",
        "Do you want the long version?",
        "Is it for [school|a child|a quiz]?",
        "What made you think of it?",
    ),
    suggestions=(
        "[A book|A film|A talk] about {companion} may be fun too.",
        "You might also like to read about {companion}.",
    ),
    facts={
        "reason": Fact(
            values=tuple(item[1] for item in EXPLAINED),
            asked=("In short, what is the reason that {name}?", "What is the one reason why {name}?"),
            again=("But why?", "And the reason?"),
            plain=("The reason is that {value}.", "It happens because {value}.", "In short, {value}."),
            warm=("[The nice part is|It is quite simple]: {value}.", "[Imagine|Picture this]: {value}."),
            technical=("The causal mechanism: {value}.",),
        ),
        "detail": Fact(
            values=tuple(item[2] for item in EXPLAINED),
            asked=("I know {name}, but how does it work?", "Can you give me one more detail of why {name}?"),
            again=("How does it work?", "And in more detail?"),
            plain=("What is more, {value}.", "At the same time, {value}.", "You see, {value}."),
            warm=("[Here is the fun part|What a neat thing]: {value}.",),
            technical=("As a secondary parameter, {value}.",),
        ),
        "example": Fact(
            values=tuple(item[3] for item in EXPLAINED),
            asked=("Can you give me an example of why {name}?", "What is an example that shows why {name}?"),
            again=("Can you give an example?", "And an example?"),
            plain=("For example, {value}.", "That is why {value}.", "You can see it when {value}."),
            warm=("[A lovely example|You may have seen it]: {value}.",),
            technical=("Empirical instance: {value}.",),
        ),
        "try": Fact(
            values=tuple(item[4] for item in EXPLAINED),
            asked=("How can I see for myself why {name}?", "How can I try out why {name}?"),
            again=("How can I see that?", "What can I try?"),
            plain=("To see it, {value}.", "You can try this: {value}.", "Here is a tip: {value}."),
            warm=("For fun, {value}.", "Give it a go and {value}."),
            technical=("Suggested procedure: {value}.",),
        ),
    },
)

PLANS = Domain(
    weight=10,
    companions=("a board game", "some music", "a plate of snacks", "a bunch of flowers"),
    audiences=("children", "shy people", "the whole family"),
    overview=(
        "Tell me about the {name}.",
        "What should I know about the {name}?",
        "I am invited to the {name}. [Any details?|What is the plan?]",
    ),
    use=("Is the {name} nice for {audience}?", "Is the {name} a good idea for {audience}?"),
    asks_back=(
        "Will you be coming?",
        "Are you coming with a friend?",
        "Shall I put your name down?",
        "Do you need a lift?",
    ),
    suggestions=("You could also bring {companion}.", "{companion} would be welcome too."),
    facts={
        "day": Fact(
            values=(
                "on Monday", "on Tuesday", "on Wednesday", "on Thursday", "on Friday", "on Saturday",
                "on Sunday",
            ),
            asked=("Which day is the {name}?", "When is the {name}?"),
            again=("Which day is it?", "And the day?"),
            plain=("It is {value}.", "The {noun} is {value}.", "We meet {value}."),
            warm=("We cannot wait to see you {value}.", "Keep it free, it is {value}."),
            technical=("The date slot is fixed {value}.",),
        ),
        "start": Fact(
            values=tuple(
                f"at {hour} {manner}"
                for hour in ("nine", "ten", "eleven", "noon", "two", "three", "four", "five", "six", "seven")
                for manner in ("sharp", "or so")
            ),
            asked=("What time does the {name} start?", "When should I be at the {name}?"),
            again=("When does it start?", "And the start?"),
            plain=("It starts {value}.", "We start {value}.", "Please come {value}."),
            warm=("Come {value} and make yourself at home.", "It starts {value}, we look forward to it."),
            technical=("The commencement parameter is {value}.",),
        ),
        "place": Fact(
            values=(
                "the town hall", "the back garden", "the old barn", "the school gym", "the river bank",
                "the corner café", "the roof terrace", "the village green",
            ),
            asked=("Where is the {name}?", "Where do we meet for the {name}?"),
            again=("Where is it?", "And the place?"),
            plain=("It is at {value}.", "We meet at {value}.", "The place is {value}."),
            warm=("We meet at {value}, a lovely spot.", "You will like it at {value}."),
            technical=("The venue object resolves to {value}.",),
        ),
        "bring": Fact(
            values=(
                "a warm coat", "a picnic blanket", "two chairs", "a small gift", "some cake", "your own cup",
                "a torch", "an old shirt",
            ),
            asked=("What should I bring to the {name}?", "Do I need anything for the {name}?"),
            again=("What should I bring?", "Do I need anything?"),
            plain=("Please bring {value}.", "You should bring {value}.", "All you need is {value}."),
            warm=("Bring {value} and a good mood.", "It would be lovely if you bring {value}."),
            technical=("The required input is {value}.",),
        ),
        "guests": Fact(
            values=_amounts("people", 8, 10, 12, 15, 20, 25, 30, 40, 60),
            asked=("How many people come to the {name}?", "Is the {name} a big one?"),
            again=("How many will come?", "And how many people?"),
            plain=("We expect {value}.", "There will be {value}.", "There is room for {value}."),
            warm=("We are happy to welcome {value}.", "With {value} it will be great fun."),
            technical=("The headcount estimate is {value}.",),
        ),
    },
)  # fmt: skip

DOMAINS: Mapping[str, Domain] = {
    "shop": SHOP,
    "travel": TRAVEL,
    "cooking": COOKING,
    "help": HELP_DESK,
    "explanation": EXPLANATIONS,
    "event": PLANS,
}
