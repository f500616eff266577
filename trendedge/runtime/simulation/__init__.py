"""Runs the real actors on an event loop that a seed decides, over stores in memory that fail when the seed says so.

The same seed gives the same run, to the last step. Nothing here knows of a particular actor.
"""

from trendedge.runtime.simulation.actors import Actors, Dead, Probe, Started, StartedDurable
from trendedge.runtime.simulation.errors import Deadlocked, Livelocked, NoAnswer, NotSimulated, SimulationFault
from trendedge.runtime.simulation.journal import MemoryJournal, MemoryServer, Stored
from trendedge.runtime.simulation.loop import SimulatedLoop
from trendedge.runtime.simulation.ownership import MemoryOwnership, MemoryRegistry
from trendedge.runtime.simulation.process import SimulatedProcess, current_process
from trendedge.runtime.simulation.running import Run, simulate
from trendedge.runtime.simulation.wire import Faults, FaultyWire, GoodWire, Wire

__all__ = [
    "Actors",
    "Dead",
    "Deadlocked",
    "Faults",
    "FaultyWire",
    "GoodWire",
    "Livelocked",
    "MemoryJournal",
    "MemoryOwnership",
    "MemoryRegistry",
    "MemoryServer",
    "NoAnswer",
    "NotSimulated",
    "Probe",
    "Run",
    "SimulatedLoop",
    "SimulatedProcess",
    "SimulationFault",
    "Started",
    "StartedDurable",
    "Stored",
    "Wire",
    "current_process",
    "simulate",
]
