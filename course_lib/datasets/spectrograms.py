"""Spectrograms of etch-chamber vibration: a domain far from photographs.

One second of an accelerometer on a plasma-etch chamber is simulated from its physics
(turbo pump, backing pump, gas flow, shocks), turned into a time-frequency picture by
a short-time Fourier transform, and coloured by a fixed map.  Time runs to the right,
0 to 1 s; frequency upwards, 0 to 2 kHz; brightness is the level in dB.

===========  ======================================================================
normal       turbo-pump tone with its harmonics, mains hum, sensor noise
imbalance    the rotor's own frequency grows strongly and beats slowly
bearing      a damaged race: regular impacts that ring a resonance of the housing
belt-slip    a tone that squeals downwards or upwards when the backing pump slips
turbulence   broadband noise of the gas flow, swelling and fading
arcing       a few short broadband bursts at random times
===========  ======================================================================

Picture i depends only on (seed, split, i).
"""

import numpy as np

from course_lib.datasets.images import ImageDataset, drawn

CLASSES = ("normal", "imbalance", "bearing", "belt-slip", "turbulence", "arcing")
SPLITS = {"train": 1, "validation": 2, "test": 3, "pool": 4}
SIZES = {"train": 600, "validation": 600, "test": 600}
SEED = 20_240_064
SIDE = 64
RATE = 4096  # samples a second
WINDOW = 126  # samples of one transform: 64 frequencies, 32.5 Hz apart
HOP = 64  # samples between transforms
SAMPLES = WINDOW + HOP * (SIDE - 1)
LEVELS = 32
_TIME = np.arange(SAMPLES) / RATE
_HANN = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(WINDOW) / WINDOW)
_ANCHORS = np.array(  # dark blue, violet, red, orange, pale yellow
    [[8, 10, 40], [70, 24, 110], [190, 50, 80], [248, 150, 50], [252, 250, 200]],
    dtype=np.float64,
)


# -- vibration, in units of the sensor's noise (standard deviation 1) ----------------


def _slow(rng, n_knots: int) -> np.ndarray:
    """A slowly varying random function of time, (SAMPLES,), of unit order."""
    places = np.linspace(0, SAMPLES - 1, n_knots)
    return np.interp(np.arange(SAMPLES), places, rng.standard_normal(n_knots))


def _tone(frequency, phase) -> np.ndarray:
    """A tone whose frequency (Hz, scalar or (SAMPLES,)) may vary in time."""
    cycles = np.cumsum(np.broadcast_to(frequency, SAMPLES)) / RATE
    return np.sin(2 * np.pi * cycles + phase)


def _band_noise(rng, low: float, high: float) -> np.ndarray:
    """Gaussian noise between two frequencies (Hz) with soft limits, unit variance."""
    from scipy import fft

    spectrum = fft.rfft(rng.standard_normal(SAMPLES))
    hertz = np.arange(len(spectrum)) * (RATE / SAMPLES)
    rise = 1 / (1 + np.exp(np.clip((low - hertz) / 40, -50, 50)))
    fall = 1 / (1 + np.exp(np.clip((hertz - high) / 80, -50, 50)))
    noise = fft.irfft(spectrum * rise * fall, n=SAMPLES)
    return noise / np.sqrt(np.mean(noise * noise))


def machine(rng, rotor: np.ndarray) -> np.ndarray:
    """What every recording contains: ``rotor`` is the turbo pump's frequency, Hz."""
    signal = rng.uniform(0.8, 1.2) * rng.standard_normal(SAMPLES)
    signal += rng.uniform(0.3, 1.0) * _band_noise(rng, 0, rng.uniform(150, 500))
    for harmonic in range(1, 5):
        level = rng.uniform(0.2, 1.0) / harmonic
        signal += level * _tone(harmonic * rotor, rng.uniform(0, 6.3))
    hum = rng.choice((50.0, 60.0))
    for harmonic in (1, 2, 3):
        level = rng.uniform(0.1, 0.8) / harmonic
        signal += level * _tone(harmonic * hum, rng.uniform(0, 6.3))
    if rng.random() < 0.4:  # a robot arm moves: a thump of low frequency
        start, rate = rng.uniform(0.1, 0.9), rng.uniform(15, 40)
        envelope = np.exp(-(((_TIME - start) * rate) ** 2))
        signal += rng.uniform(1, 3) * envelope * _band_noise(rng, 0, 120)
    if rng.random() < 0.4:  # a neighbour's steady tone
        level = rng.uniform(0.2, 0.7)
        signal += level * _tone(rng.uniform(600, 1900), rng.uniform(0, 6.3))
    return signal


def imbalance(rng, rotor, severity):
    """A heavy spot on the rotor: force at the rotor's frequency, slowly beating."""
    beat = 1 + rng.uniform(0.2, 0.6) * _tone(rng.uniform(1.0, 3.0), rng.uniform(0, 6.3))
    force = _tone(rotor, rng.uniform(0, 6.3))
    force = force + rng.uniform(0.1, 0.3) * _tone(2 * rotor, rng.uniform(0, 6.3))
    return 2.6 * severity * beat * force


def _ring_down(rng, times, decay, frequency, levels):
    """Impacts at ``times`` (s) that ring at ``frequency`` (Hz) for ``decay`` (s)."""
    signal = np.zeros(SAMPLES)
    for time, level in zip(times, levels):
        first = int(time * RATE)
        elapsed = _TIME[: max(SAMPLES - first, 0)]
        ring = np.exp(-elapsed / decay) * np.sin(2 * np.pi * frequency * elapsed)
        signal[first : first + len(ring)] += level * ring
    return signal


def bearing(rng, rotor, severity):
    """A ball passes a pit in the race at regular times and rings the housing."""
    gap = 1 / rng.uniform(7, 20)
    times = rng.uniform(0, gap) + gap * np.arange(24)
    times = times + 0.02 * gap * rng.standard_normal(24)
    times = times[(times > 0) & (times < 0.98)]
    levels = 6.0 * severity * rng.uniform(0.7, 1.3, len(times))
    decay, resonance = rng.uniform(0.004, 0.010), rng.uniform(900, 1800)
    return _ring_down(rng, times, decay, resonance, levels)


def belt_slip(rng, rotor, severity):
    """A squeal whose frequency sweeps while the belt slips, with one overtone."""
    start, length = rng.uniform(0.05, 0.5), rng.uniform(0.25, 0.45)
    progress = (_TIME - start) / length
    inside = (progress > 0) & (progress < 1)
    envelope = np.where(inside, np.sin(np.pi * np.clip(progress, 0, 1)), 0.0) ** 0.5
    low, sweep = rng.uniform(250, 800), rng.uniform(300, 700)
    shape = np.clip(progress, 0, 1) ** rng.uniform(0.7, 1.5)
    if rng.random() < 0.5:
        shape = 1 - shape
    frequency = low + sweep * shape
    squeal = _tone(frequency, 0.0) + rng.uniform(0.0, 0.4) * _tone(1.5 * frequency, 1.0)
    return 1.9 * severity * envelope * squeal


def turbulence(rng, rotor, severity):
    """Noise of an unsteady gas flow: a broad band that swells and fades."""
    low = rng.uniform(100, 900)
    noise = _band_noise(rng, low, low + rng.uniform(500, 900))
    return 1.5 * severity * np.clip(1 + 0.6 * _slow(rng, 7), 0.15, 2.5) * noise


def arcing(rng, rotor, severity):
    """Plasma arcs: bursts of a few milliseconds over all frequencies."""
    signal = np.zeros(SAMPLES)
    for time in rng.uniform(0.03, 0.97, rng.integers(1, 6)):
        decay = rng.uniform(0.003, 0.009)
        elapsed = np.maximum(_TIME - time, 0.0)
        envelope = np.where(_TIME >= time, np.exp(-elapsed / decay), 0.0)
        level = 9.0 * severity * rng.uniform(0.7, 1.4)
        signal += level * envelope * rng.standard_normal(SAMPLES)
    return signal


_FAULTS = (None, imbalance, bearing, belt_slip, turbulence, arcing)


def vibration(rng, label: int) -> tuple[np.ndarray, dict]:
    """One recording (SAMPLES,) at 4096 samples a second, and its settings."""
    base = rng.uniform(280, 520)
    rotor = base * (1 + rng.uniform(0, 0.02) * _slow(rng, 5))
    severity = rng.uniform(0.45, 1.0)
    signal = machine(rng, rotor)
    if _FAULTS[label] is not None:
        signal = signal + _FAULTS[label](rng, rotor, severity)
    return signal, {"rotor_hz": base, "severity": severity}


# -- from signal to picture ---------------------------------------------------------


def stft_decibels(signal: np.ndarray) -> np.ndarray:
    """Level in dB over its median, (64 frequencies, 64 times), Hann windows."""
    from scipy import fft

    starts = HOP * np.arange(SIDE)
    frames = signal[starts[:, None] + np.arange(WINDOW)[None, :]] * _HANN
    power = np.abs(fft.rfft(frames, axis=1)) ** 2
    level = 10 * np.log10(power.T + 1e-9)
    return level - np.median(level)


def colour(level: np.ndarray, low: float = -12.0, high: float = 30.0) -> np.ndarray:
    """Levels in dB to RGB uint8 through the fixed colour map, 32 steps."""
    step = np.floor(np.clip((level - low) / (high - low), 0, 1) * (LEVELS - 1) + 0.5)
    knots = np.linspace(0, LEVELS - 1, len(_ANCHORS))
    table = [np.interp(np.arange(LEVELS), knots, channel) for channel in _ANCHORS.T]
    table = np.floor(np.stack(table, axis=1) + 0.5).astype(np.uint8)
    return table[step.astype(np.int64)]


def render(
    n: int, seed: int = SEED, split: str = "pool", first: int = 0
) -> ImageDataset:
    """``n`` spectrograms, uint8 (n, 64, 64, 3); picture i has the label i mod 6.

    metadata: rotor_hz (turbo pump) and severity.  Picture i depends only on (seed,
    split, i).
    """

    def draw(rng, label):
        signal, settings = vibration(rng, label)
        return colour(stft_decibels(signal))[::-1], settings

    about = CLASSES, "spectrograms", split
    return drawn(n, first, (seed, SPLITS[split]), draw, about)
