"""Savers: which variables the Saver of a graph saves, and under which names."""

from __future__ import annotations

from typing import Dict, List, NamedTuple, Optional, Set, Tuple

from bnguard.analysis import limits
from bnguard.analysis.dataflow.reachability import closure
from bnguard.analysis.ir.graph import Tensor
from bnguard.analysis.ir.op_types import ARITHMETIC, RESTORES, SAVES
from bnguard.analysis.recognition.recognized_graph import RecognizedGraph
from bnguard.analysis.recognition.statistics import PARTITION

_FIRST_TENSOR = {"SaveV2": 3, "SaveSlices": 3, "Save": 2}
_NAMES_INPUT = 1


class SavedNames(NamedTuple):
    """The variables that the Saver of a graph saves.

    Attributes:
      names: the name in the checkpoint of each variable, by the variable's node.
      is_complete: False if a limit ended a search, so that more variables may be saved.
    """

    names: Dict[int, str]
    is_complete: bool


def saved_names(recognized: RecognizedGraph) -> Optional[SavedNames]:
    """Return the variables that are saved, or None if the graph has no Saver.

    This is about the Saver that was stored with the graph or, without one, about all Savers in it.
    """
    graph = recognized.graph
    saves = graph.of_types(SAVES)
    save_tensor = recognized.loaded.save_tensor
    stored = graph.tensor(save_tensor) if save_tensor else None
    if stored is not None:
        before = closure([stored.node], graph.sources)
        saves = [node for node in saves if node in before]
    if not saves:
        return None
    saved: Dict[int, str] = {}
    strings, is_complete = _Strings(recognized), True
    for save in saves:
        inputs = graph.data_inputs(save)
        tensors = inputs[_FIRST_TENSOR[graph.types[save]] :]
        names = strings(inputs[_NAMES_INPUT]) if tensors else []
        for position, tensor in enumerate(tensors):
            variables, found_all = _variables_behind(recognized, tensor)
            is_complete = is_complete and found_all
            for variable in variables:
                is_known = position < len(names)
                default = checkpoint_name(recognized, variable)
                saved[variable] = names[position] if is_known else default
    return SavedNames(saved, is_complete)


def asked_names(recognized: RecognizedGraph) -> Dict[int, str]:
    """Return the name under which each variable is asked for when a checkpoint is restored.

    A Saver asks for the names under which it saves. Without one, the ops that restore tell. A
    variable that nothing restores is left out.
    """
    saved = saved_names(recognized)
    return _restored_names(recognized) if saved is None else saved.names


def _restored_names(recognized: RecognizedGraph) -> Dict[int, str]:
    graph = recognized.graph
    restored: Dict[int, str] = {}
    strings = _Strings(recognized)
    if not graph.of_types(RESTORES):
        return restored
    for variable in recognized.writes:
        for value in recognized.loaded_values(variable):
            origin = recognized.provenance.origins(value).only
            if origin is not None and graph.types[origin.node] == "RestoreV2":
                names = strings(graph.data_input(origin.node, _NAMES_INPUT))
                if origin.port < len(names):
                    restored[variable] = names[origin.port]
    return restored


def checkpoint_name(recognized: RecognizedGraph, variable: int) -> str:
    """Return the name under which a Saver saves a variable by default."""
    return PARTITION.sub("", recognized.graph.names[variable])


def _variables_behind(recognized: RecognizedGraph, tensor: Tensor) -> Tuple[Set[int], bool]:
    """Return the variables that a tensor is made of, or is the sum or mean of, such as replicas.

    The second result is False if a limit ended the search.
    """
    graph, provenance = recognized.graph, recognized.provenance
    stack, seen = [tensor], {tensor}
    found: Set[int] = set()
    is_complete = True
    while stack:
        if len(seen) > limits.REPLICA_TENSORS:
            limits.REPLICA_TENSORS.reach()
            return found, False
        origins = provenance.origins(stack.pop())
        is_complete = is_complete and origins.is_complete
        for origin in origins.tensors:
            found.update(provenance.variables(origin))
            if graph.types[origin.node] in ARITHMETIC:
                unseen = [source for source in graph.data_inputs(origin.node) if source not in seen]
                seen.update(unseen)
                stack += unseen
    return found, is_complete


class _Strings:
    """The lists of names that Savers are given as constants, each decoded once."""

    def __init__(self, recognized: RecognizedGraph) -> None:
        self._recognized = recognized
        self._decoded: Dict[int, List[str]] = {}

    def __call__(self, tensor: Tensor) -> List[str]:
        graph = self._recognized.graph
        origin = self._recognized.provenance.origins(tensor).only
        if origin is None or graph.types[origin.node] != "Const":
            return []
        if origin.node not in self._decoded:
            values = graph.attributes(origin.node)["value"].tensor.string_val
            self._decoded[origin.node] = [value.decode("utf-8", "replace") for value in values]
        return self._decoded[origin.node]
