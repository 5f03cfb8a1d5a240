"""Three kinds of text, written for this course: about 1,000 tokens each."""

TEXTS = {
    "description": """\
The repair shop stands at the end of a short lane, between a bakery and a wall that
is covered with ivy. Its front is narrow, hardly wider than the door and one window,
and the paint, which must have been dark green at some time, has faded to the colour
of dry moss. Above the door hangs a wooden sign in the shape of a clock without
hands. Nobody in the street can say whether the hands were lost or whether there
never were any.

Inside it takes a moment until one sees anything at all. The window is full of
clocks that wait for their owners, and only a little light comes through between
them. Then the room appears, piece by piece. On the left there is a long workbench
of beech, worn smooth at the edge where three generations of arms have rested. A
lamp on a jointed arm throws a circle of warm light on it, and in the circle lie
tweezers, small screwdrivers with coloured rings, a brass oil pot no larger than a
thimble, and a watch glass in which tiny screws are kept so that none can roll away.
A loupe hangs from a nail by a piece of string.

The wall behind the bench is made of drawers. There are more than two hundred of
them, each as wide as a hand, and each has a paper label written in brown ink. Some
labels name a part, such as springs or crowns; others name a maker, a town, or only
a year. The lowest row has no labels. In it, the owner says, is what does not belong
anywhere, and therefore it is opened more often than all the others.

On the right, opposite the bench, stand the tall clocks. Seven of them lean against
the wall like guests who came too early to a party. The largest is of walnut and
reaches almost to the ceiling. On its face a painted moon looks out from behind a
cloud, and under the moon a ship sails, which rocks from side to side with every
second. The smallest has lost its case. Its works stand free on a shelf, and one can
watch how the weight pulls the chain, how the chain turns the drum, and how at the
far end of all the wheels the anchor lets one tooth go, and then the next.

All of these clocks go, and none of them agrees with another. This is the first
thing that visitors notice, and most of them smile. The ticking does not come from
one place. It fills the room like the sound of rain on leaves, sometimes denser,
sometimes thinner, and at times, for a second or two, it happens that all the clocks
fall into step. Then there is a single loud tick, and everybody who is in the room
looks up. A moment later they have drifted apart again.

At the back a curtain of heavy cloth hides a second room, which customers do not
enter. Through the gap one sees a stove with a kettle on it, a chair with a cushion,
and a bicycle that is hung from two hooks. On the window sill of that room stands a
row of plants in tins, and between them sleeps a grey cat. The cat belongs to the
bakery, but it prefers the shop, perhaps because it is quieter, perhaps because the
stove is never allowed to go out. Oil gets thick when it is cold, the owner
explains, and a cold clock tells lies.

The smell of the place is hard to describe to somebody who has not been there. There
is metal in it, and oil, and old wood; there is coffee, in the morning at least, and
from the left, through the thin wall, comes the smell of bread. In the late
afternoon the sun reaches the lane for less than half an hour. Then it shines
straight through the window, past the waiting clocks, and draws their shadows across
the floor, round and square and pointed, as far as the feet of the tall ones on the
other side. Dust rises in the beams. The brass of the weights begins to glow, and
for these few minutes the shop, which is dark on every other hour of the day, is the
brightest room in the whole street. When the light has gone, the owner switches on
the second lamp, sweeps the floor and turns the card in the door, on which is
written in the same brown ink that the shop is closed and that it will be open again
tomorrow at nine, more or less.
""",
    "narrative": """\
When the ferry had left, Jonas found that he was the only passenger on the pier. He
had expected somebody to meet him, for the letter had said so, but there were only
two gulls and a boy who was coiling a rope. He put down his bag and waited. After
ten minutes the boy came over and asked whether he was the man for the lighthouse.

"I am supposed to be," said Jonas. "Where is Mr Hallgrim?"

"He is ill. He said I should bring you up, and that you should not touch the lamp
before he has spoken to you." The boy took the bag without being asked and went
ahead. He walked fast, and Jonas, who had been sitting since the early morning, had
trouble following.

The path climbed along the edge of the cliff. Below them the sea was calm, almost
white, and far out the ferry had become as small as a toy. The boy's name was Matti.
He was eleven, he went to school on the mainland from Monday to Thursday, and he had
counted the steps from the pier to the tower: there were one thousand and forty. He
had never been up in the lamp room. Mr Hallgrim had forbidden it, as he forbade most
things.

They found the old man in bed, in a room on the ground floor of the tower, with a
scarf around his neck and a book of tide tables on the blanket. He looked at Jonas
for a long time before he spoke.

"You are younger than the last one," he said. "The last one stayed for nine days."

"I signed for a year."

"So did he." Hallgrim coughed and drank some water. "Listen to me. The lamp is lit
half an hour before sunset. You wind the clockwork that turns the lens, eighty
turns, not more and not less, and you do it again at midnight and at four. If the
fog comes, you start the horn. You write down everything in the book, even if there
is nothing to write. And you never, on no account, leave the door to the gallery
open when you come down."

"Why?" asked Matti from the threshold.

"Because of the wind," said the old man, but he said it after a short pause, and he
did not look at either of them.

The first night was clear. Jonas lit the lamp, wound the clockwork and sat down on
the iron stairs to listen. The lens turned above him with a low sound, as if
somebody were rolling a barrel in a distant cellar. At midnight he wound it again.
He wrote in the book: clear, wind from the west, two ships. Then he turned the pages
back, because he wanted to see what the last one had written. There were nine
entries. Eight of them were like his own. The ninth said only: the door was open
again.

He read the line twice. Then he took the torch and climbed up to the gallery. The
door was shut, and the bolt was in its place. He pulled at it to make sure, laughed
at himself, and went down to make coffee.

At four o'clock he woke with a start. He had fallen asleep at the table, and the
sound of the lens had changed; it was slower, and there was a draught on the stairs.
He ran up. The clockwork had almost stopped. He wound it, counting aloud, and only
when he had reached eighty did he look to the side. The door to the gallery stood
wide open, and the bolt, which he himself had tested, lay on the floor.

Jonas went out. The wind was so weak that it hardly moved his hair. He held the
torch over the rail and saw the cliff, the white line of the surf, and, on the path
below, something small that was moving upwards, quickly, without a light. He
shouted. It stopped.

"Do not tell him," called a thin voice. "Please. I only wanted to see it turn."

It took Jonas a while to understand. Then he had to sit down on the cold iron plate.
He was laughing, and at the same time his knees were shaking. There was an old
ladder for the painters, fixed to the outer wall, and Matti had been climbing it
since the spring. He used a piece of wire for the bolt. He had frightened away one
keeper with it, and he had not even noticed.

"Come up," said Jonas at last. "By the stairs, and with your shoes on. You can wind
it at four from now on. But you will write it in the book yourself, every time, with
your name."

In the morning Hallgrim asked him how the night had been. Jonas poured the tea and
thought about it. "Quiet," he said. "There was some wind. I think I have found out
where it comes from."
""",
    "technical": """\
A pump that feeds a cooling circuit is often monitored by a single temperature
sensor at its outlet. This is cheap, but it detects most faults late, because the
temperature of the water follows the state of the pump with a delay of several
minutes. The procedure below uses three signals that change earlier: the current of
the motor, the pressure difference between inlet and outlet, and the vibration of
the housing. It was written for centrifugal pumps with a rated power of 2 to 15
kilowatts and a constant speed; with a frequency converter the limits have to be
stored for each speed.

Before monitoring starts, a reference has to be recorded. Let the pump run for at
least thirty minutes, until the bearing temperature no longer rises by more than one
degree in five minutes. Then record the three signals for ten minutes: the current
and the pressure once a second, the vibration with 10,240 samples a second in blocks
of 0.4 seconds. From each block compute the root mean square of the velocity between
10 and 1,000 hertz, and the spectrum of the envelope up to 500 hertz. Store the mean
and the standard deviation of all values. A reference is valid only for one set of
valves; if a valve downstream is changed, record it again.

During operation the same values are computed once a minute. A value that differs
from its mean by more than four standard deviations is called an event. A single
event means nothing, since a valve that closes or another machine on the same
foundation can cause it. If the same value gives an event in five of ten consecutive
minutes, the monitor raises a warning, and the table of causes is consulted.

A rising current with a falling pressure difference points to internal leakage: the
wear rings have become too wide, and part of the water flows back to the inlet. The
efficiency can be estimated from both signals. Multiply the pressure difference in
pascals by the flow in cubic metres a second and divide the product by the
electrical power in watts. A new pump of this size reaches 0.55 to 0.65; below 0.45
an overhaul usually pays for itself within a year.

A falling current with a falling pressure difference points to air or vapour in the
inlet. Cavitation is recognised by a broad rise of the vibration above 500 hertz,
without single peaks, and often by a noise like gravel. Check the level of the tank,
the strainer and the temperature of the water in this order. Do not throttle the
outlet in order to silence the noise: the flow decreases, the water gets warmer, and
the cause remains.

A peak in the envelope spectrum that was not there before points to a bearing. Its
frequency follows from the geometry. For a bearing with n rolling elements of
diameter d on a pitch circle of diameter D, and a shaft that turns f times a second,
a defect of the outer ring is hit n/2 times f times (1 - d/D) times a second, and
one of the inner ring n/2 times f times (1 + d/D). For example, a bearing with nine
balls of 8 millimetres on a circle of 38 millimetres at 49 turns a second gives 174
hertz for the outer ring and 267 hertz for the inner ring. Because the balls slip a
little, measured frequencies are one or two per cent lower. If the peak has
harmonics, and if these have side bands at the distance of the rotation frequency,
the defect is already larger than a few square millimetres, and the bearing should
be replaced within two weeks.

An increase of the vibration at exactly the rotation frequency points to imbalance,
at twice this frequency to a misaligned coupling. Both can be distinguished by a
simple test. Loosen the coupling and let the motor run alone. If the vibration
disappears, the motor is sound, and the alignment of the shafts has to be measured
with dial gauges or with a laser while the housing is at its working temperature. If
it remains, look at the fan of the motor first, because a broken blade is more
frequent than a bent shaft.

Two limits should never be used for a warning alone. The temperature of the housing
depends on the room, and an open window can hide a fault for a whole winter. The
number of running hours says when a pump is old, but not whether it is worn: in a
survey of forty pumps of the same type the three that failed first were neither the
oldest nor the ones with the most hours. They had one thing in common, which no
sensor had recorded. After their last repair the base plate had not been levelled,
and the pipes had pulled the housing out of line by less than half a millimetre.
""",
}
