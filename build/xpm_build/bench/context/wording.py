"""Sentences that say nothing of what is asked: what a prompt is made long with. The same ones from the same draws."""

from random import Random

_WHO = (
    "The gardener,The postman,A neighbour,The teacher,An old friend,The ferryman,The baker,A student,The librarian,"
    "The innkeeper,A traveller,The watchmaker,The painter,A young doctor,The shepherd,The clerk"
).split(",")
_DID = (
    "looked at,carried,described,repaired,forgot about,admired,put away,talked about,painted,searched for,cleaned,"
    "borrowed,returned,waited for,paid for,photographed"
).split(",")
_WHAT = (
    "the wooden boat,a heavy suitcase,the garden gate,an umbrella,the kitchen table,a pair of boots,the old clock,"
    "a basket of apples,the narrow bridge,a wool blanket,the blue curtains,an empty bottle,the garden wall,a paper map,"
    "the copper kettle,a folding chair"
).split(",")
_WHEN = (
    "before the rain began,on the way home,early in the morning,after lunch,without saying a word,for the second time,"
    "while the others slept,near the station,at the end of the road,with great care,on a quiet Sunday,in the afternoon,"
    "because nobody else would,as the lamps were lit,just after the market closed,under the chestnut trees"
).split(",")
NAMES = (
    "Agathe Benno Carla Dario Edda Fabio Greta Henrik Ilse Jonas Karin Leander Mira Nils Olga Pavel Quirin Rosa Silvan "
    "Tilda Ulrich Vera Wanda Xenia Yannick Zora"
).split()


def sentence(rng: Random) -> str:
    """One of 65,536."""
    return f"{rng.choice(_WHO)} {rng.choice(_DID)} {rng.choice(_WHAT)} {rng.choice(_WHEN)}."
