"""The protobuf messages of TensorFlow's files, with the few fields that the analysis reads.

The messages are in a pool of their own, so they neither need TensorFlow's generated modules nor
clash with them. Fields that are not declared are skipped. Names and numbers are those of
tensorflow/core/framework/*.proto and tensorflow/core/protobuf/*.proto, where they never change.

`Raw...` messages and heads parse the same bytes, but leave a part undecoded until it is needed:
to decode every attribute of every node would take as long as everything else together.
"""

from __future__ import annotations

from typing import Any, Dict, Type
import warnings

import google.protobuf
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError, Message

__all__ = ["DATA_TYPES", "DecodeError", "message", "parse"]

_PACKAGE = "bnguard.analysis"
# Of some bytes that it cannot decode.
_ONLY_WARNS = int(google.protobuf.__version__.partition(".")[0]) < 4
_Field = descriptor_pb2.FieldDescriptorProto
_SCALARS = {
    "bool": _Field.TYPE_BOOL,
    "bytes": _Field.TYPE_BYTES,
    "double": _Field.TYPE_DOUBLE,
    "fixed32": _Field.TYPE_FIXED32,
    "fixed64": _Field.TYPE_FIXED64,
    "float": _Field.TYPE_FLOAT,
    "int32": _Field.TYPE_INT32,
    "int64": _Field.TYPE_INT64,
    "string": _Field.TYPE_STRING,
}

# tensorflow/core/framework/types.proto; a reference type is its base type + 100.
_BASE_TYPES = """
    INVALID FLOAT DOUBLE INT32 UINT8 INT16 INT8 STRING COMPLEX64 INT64 BOOL QINT8 QUINT8 QINT32
    BFLOAT16 QINT16 QUINT16 UINT16 COMPLEX128 HALF RESOURCE VARIANT UINT32 UINT64
"""
DATA_TYPES = {f"DT_{name}": number for number, name in enumerate(_BASE_TYPES.split())}
DATA_TYPES.update({f"{name}_REF": number + 100 for name, number in DATA_TYPES.items() if number})

# Message -> "type name number" of each field; `*` marks a repeated one, and `<string, T>` a map.
_MESSAGES = {
    "SavedModel": "MetaGraphDef* meta_graphs 2",
    "RawSavedModel": "bytes* meta_graphs 2",
    "MetaGraphDef": """
        MetaInfoDef meta_info_def 1; GraphDef graph_def 2; SaverDef saver_def 3;
        <string,CollectionDef> collection_def 4; <string,SignatureDef> signature_def 5""",
    "RawMetaGraphDef": """
        MetaInfoDef meta_info_def 1; RawGraphDef graph_def 2; SaverDef saver_def 3;
        <string,CollectionDef> collection_def 4; <string,SignatureDef> signature_def 5;
        bytes object_graph_def 7""",
    "MetaInfoDef": "string* tags 4",
    "SaverDef": "string filename_tensor_name 1; string save_tensor_name 2",
    "CollectionDef": "NodeList node_list 1; BytesList bytes_list 2",
    "NodeList": "string* value 1",
    "BytesList": "bytes* value 1",
    "SignatureDef": "<string,TensorInfo> inputs 1; <string,TensorInfo> outputs 2",
    "TensorInfo": "string name 1",
    "VariableDefs": "VariableDef* value 1",  # reads a BytesList of them
    "VariableDef": "string variable_name 1; string initializer_name 2",
    "GraphDef": "NodeDef* node 1; FunctionDefLibrary library 2",
    "RawGraphDef": "bytes* node 1; FunctionDefLibrary library 2",
    "NodeDef": "string name 1; string op 2; string* input 3; <string,AttrValue> attr 5",
    "NodeHead": "bytes name 1; bytes op 2; bytes* input 3",
    "FunctionDefLibrary": "FunctionDef* function 1",
    "FunctionDef": """
        OpDef signature 1; NodeDef* node_def 3; <string,string> ret 4;
        <string,string> control_ret 6""",
    "OpDef": "string name 1; ArgDef* input_arg 2; ArgDef* output_arg 3",
    "ArgDef": "string name 1",
    "AttrValue": """
        AttrList list 1; bytes s 2; int64 i 3; float f 4; bool b 5; DataType type 6;
        TensorShapeProto shape 7; TensorProto tensor 8; NameAttrList func 10""",
    "AttrList": "bytes* s 2; int64* i 3; DataType* type 6; NameAttrList* func 9",
    "NameAttrList": "string name 1",
    "TensorShapeProto": "Dim* dim 2; bool unknown_rank 3",
    "Dim": "int64 size 1",
    "TensorProto": """
        DataType dtype 1; TensorShapeProto tensor_shape 2; bytes tensor_content 4;
        float* float_val 5; double* double_val 6; int32* int_val 7; bytes* string_val 8;
        float* scomplex_val 9; int64* int64_val 10; bool* bool_val 11; double* dcomplex_val 12;
        int32* half_val 13""",
    # tensorflow/core/framework/graph_debug_info.proto; TensorFlow 1.15 writes `traces` alone
    "GraphDebugInfo": """
        string* files 1; <string,StackTrace> traces 2; <fixed64,FileLineCol> frames_by_id 4;
        <string,fixed64> name_to_trace_id 5; <fixed64,StackTrace> traces_by_id 6""",
    "StackTrace": "FileLineCol* file_line_cols 1; fixed64* frame_id 2",
    "FileLineCol": "int32 file_index 1; int32 line 2; string func 4; string code 5",
    "OnnxModel": "bytes graph 7; bytes* opset_import 8",  # onnx.proto's ModelProto
    # tensorflow/core/protobuf/tensor_bundle.proto, trackable_object_graph.proto
    "BundleHeaderProto": "int32 num_shards 1; int32 endianness 2; VersionDef version 3",
    "VersionDef": "int32 producer 1; int32 min_consumer 2; int32* bad_consumers 3",
    "BundleEntryProto": """
        DataType dtype 1; TensorShapeProto shape 2; int32 shard_id 3; int64 offset 4;
        int64 size 5; fixed32 crc32c 6; TensorSliceProto* slices 7""",
    # tensorflow/core/framework/tensor_slice.proto; without a length, an extent is the whole axis
    "TensorSliceProto": "Extent* extent 1",
    "Extent": "int64 start 1; int64 length 2",
    # tensorflow/core/util/saved_tensor_slice.proto
    "SavedTensorSlices": "SavedTensorSliceMeta meta 1; SavedSlice data 2",
    "SavedTensorSliceMeta": "SavedSliceMeta* tensor 1; VersionDef versions 2",
    "SavedSliceMeta": """
        string name 1; TensorShapeProto shape 2; DataType type 3; TensorSliceProto* slice 4""",
    "SavedSlice": "string name 1; TensorSliceProto slice 2; TensorProto data 3",
    # tensorflow/python/training/checkpoint_state.proto
    "CheckpointState": "string model_checkpoint_path 1; string* all_model_checkpoint_paths 2",
    "TrackableObjectGraph": "TrackableObject* nodes 1",
    "TrackableObject": "SerializedTensor* attributes 2",
    "SerializedTensor": "string name 1; string full_name 2; string checkpoint_key 3",
}


def message(name: str) -> Type[Any]:
    """Return the class of a message that is declared above."""
    return _CLASSES[name]


def parse(name: str, data: bytes) -> Any:
    """Return a message of a file, from all of its bytes.

    Raises:
      DecodeError: they are no such message. Of some bytes protobuf before 4 only warns.
    """
    if not _ONLY_WARNS:
        return message(name).FromString(data)
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        parsed = message(name).FromString(data)
    if warned:
        raise DecodeError(str(warned[0].message))
    return parsed


def _classes() -> Dict[str, Type[Message]]:
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(_file().SerializeToString())
    found = {name: pool.FindMessageTypeByName(f"{_PACKAGE}.{name}") for name in _MESSAGES}
    if hasattr(message_factory, "GetMessageClass"):  # protobuf 4.22 and later
        return {
            name: message_factory.GetMessageClass(descriptor) for name, descriptor in found.items()
        }
    factory = message_factory.MessageFactory(pool)
    return {name: factory.GetPrototype(descriptor) for name, descriptor in found.items()}


def _file() -> descriptor_pb2.FileDescriptorProto:
    # proto3, so that an enum number of a later TensorFlow is kept, not refused.
    file = descriptor_pb2.FileDescriptorProto(
        name="bnguard/analysis/protos.proto", package=_PACKAGE, syntax="proto3"
    )
    types = file.enum_type.add(name="DataType")
    for name, number in DATA_TYPES.items():
        types.value.add(name=name, number=number)
    for name, fields in _MESSAGES.items():
        declared = file.message_type.add(name=name)
        for field in fields.split(";"):
            _declare(declared, *field.split())
    return file


def _declare(
    parent: descriptor_pb2.DescriptorProto, type_name: str, name: str, number: str
) -> None:
    field = parent.field.add(name=name, number=int(number), label=_Field.LABEL_OPTIONAL)
    if type_name.startswith("<"):
        type_name = _declare_map_entry(parent, name, *type_name[1:-1].split(","))
    if type_name.endswith("*"):
        type_name, field.label = type_name[:-1], _Field.LABEL_REPEATED
    _set_type(field, type_name)


def _declare_map_entry(
    parent: descriptor_pb2.DescriptorProto, name: str, key: str, value: str
) -> str:
    entry = parent.nested_type.add(name=name.title().replace("_", "") + "Entry")
    entry.options.map_entry = True
    for number, (part, type_name) in enumerate([("key", key), ("value", value)], start=1):
        field = entry.field.add(name=part, number=number, label=_Field.LABEL_OPTIONAL)
        _set_type(field, type_name)
    return f"{parent.name}.{entry.name}*"


def _set_type(field: descriptor_pb2.FieldDescriptorProto, type_name: str) -> None:
    if type_name in _SCALARS:
        field.type = _SCALARS[type_name]
        return
    field.type = _Field.TYPE_ENUM if type_name == "DataType" else _Field.TYPE_MESSAGE
    field.type_name = f".{_PACKAGE}.{type_name}"


_CLASSES = _classes()
