/* The nodes of a GraphDef, names, types and inputs, out of their bytes: what `_read_heads` of
   reading.py does, in a third of the time. Whatever is out of the ordinary, damage included, ends
   in None: reading.py reads all of it again, and says what is wrong.

   Field numbers are those of tensorflow/core/framework/node_def.proto, the encoding that of
   https://protobuf.dev/programming-guides/encoding. */

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#define CONTROL (-1L) /* the port of a control edge, as in graph.py */
#define MOST_DIGITS 9 /* of a port */
#define SHARED 8      /* first_outputs are shared by nodes with fewer inputs than this */
#define MOST_BYTES 5  /* of a tag or a length */

enum { NAME = 1 << 3 | 2, TYPE = 2 << 3 | 2, INPUT = 3 << 3 | 2, OTHERS = 4 << 3 }; /* tags */
enum { VARINT = 0, BYTES_8 = 1, LENGTH = 2, BYTES_4 = 5 };                          /* wire types */

typedef struct {
    const char *at, *end;
} Text;

/* One node, as long as its bytes are there. */
typedef struct {
    Text name, type;
    Text *inputs;
    long *ports;
    Py_ssize_t count, room;
} Head;

typedef struct {
    Head head;
    PyObject *names, *index, *types, *sources, *ports, *early; /* what is returned */
    PyObject *texts;                 /* op types as text, by their bytes */
    PyObject *first_outputs[SHARED]; /* the ports of so many inputs, each of a first output */
} Graph;

/* Functions that give an int give 1, or 0: give up, whether a Python error is set or not. */
static int read_names_and_inputs(Graph *graph, PyObject *nodes);
static int read_late_inputs(Graph *graph, PyObject *nodes);

static PyObject *read_nodes(PyObject *self, PyObject *nodes)
{
    Graph graph = {{{0}}};
    PyObject **parts[] = {&graph.names, &graph.types, &graph.sources, &graph.ports, &graph.early};
    PyObject *found = NULL;
    int good = (graph.index = PyDict_New()) && (graph.texts = PyDict_New()), i;
    for (i = 0; i < 5; i++)
        good = (*parts[i] = PyList_New(0)) && good;
    if (good && read_names_and_inputs(&graph, nodes) && read_late_inputs(&graph, nodes))
        found = PyTuple_Pack(6, graph.names, graph.index, graph.types, graph.sources, graph.ports,
                             graph.early);
    for (i = 0; i < 5; i++)
        Py_XDECREF(*parts[i]);
    for (i = 0; i < SHARED; i++)
        Py_XDECREF(graph.first_outputs[i]);
    Py_XDECREF(graph.index);
    Py_XDECREF(graph.texts);
    PyMem_Free(graph.head.inputs);
    PyMem_Free(graph.head.ports);
    if (!found && !PyErr_Occurred())
        Py_RETURN_NONE;
    return found;
}

/* Protobuf's encoding */

static int cut_number(Text *rest, unsigned long long *number, int most)
{
    int i;
    *number = 0;
    for (i = 0; i < most && rest->at < rest->end; i++) {
        unsigned char byte = (unsigned char)*rest->at++;
        *number |= (unsigned long long)(byte & 0x7f) << 7 * i;
        if (byte < 0x80)
            return 1;
    }
    return 0;
}

static int cut_field(Text *rest, unsigned long long *tag, Text *content)
{
    unsigned long long size = 0;
    if (!cut_number(rest, tag, MOST_BYTES) || *tag > 0xffffffff)
        return 0;
    content->at = rest->at;
    switch (*tag & 7) {
    case VARINT:
        return cut_number(rest, &size, 9); /* ten are a negative number; no node has one */
    case BYTES_8:
        size = 8;
        break;
    case BYTES_4:
        size = 4;
        break;
    case LENGTH:
        if (!cut_number(rest, &size, MOST_BYTES))
            return 0;
        break;
    default: /* a group */
        return 0;
    }
    if (size > (unsigned long long)(rest->end - rest->at))
        return 0;
    content->at = rest->at;
    content->end = rest->at += size;
    return 1;
}

static int add_input(Head *head, Text input)
{
    if (head->count == head->room) {
        Py_ssize_t room = 2 * head->room + 8;
        Text *inputs = PyMem_Realloc(head->inputs, room * sizeof(Text));
        long *ports = PyMem_Realloc(head->ports, room * sizeof(long));
        head->inputs = inputs ? inputs : head->inputs;
        head->ports = ports ? ports : head->ports;
        if (!inputs || !ports) {
            PyErr_NoMemory();
            return 0;
        }
        head->room = room;
    }
    head->inputs[head->count++] = input;
    return 1;
}

static int read_head(Head *head, PyObject *node)
{
    char *bytes;
    Py_ssize_t size;
    Text rest, content;
    unsigned long long tag;
    if (PyBytes_AsStringAndSize(node, &bytes, &size) < 0)
        return 0;
    rest.at = bytes;
    rest.end = bytes + size;
    head->name.at = head->name.end = head->type.at = head->type.end = bytes;
    head->count = 0;
    while (rest.at < rest.end) {
        if (!cut_field(&rest, &tag, &content))
            return 0;
        if (tag == NAME)
            head->name = content;
        else if (tag == TYPE)
            head->type = content;
        else if (tag < OTHERS && (tag != INPUT || !add_input(head, content)))
            return 0;
    }
    return head->name.at < head->name.end && head->type.at < head->type.end;
}

/* Inputs */

/* A borrowed reference to the number of a node; NULL if there is none, or with an error. */
static PyObject *find(Graph *graph, const char *at, const char *end)
{
    PyObject *number, *name = PyBytes_FromStringAndSize(at, end - at);
    if (!name)
        return NULL;
    number = PyDict_GetItemWithError(graph->index, name);
    Py_DECREF(name);
    return number;
}

/* The same for an input: `node`, `node:port` or `^node`. */
static PyObject *find_input(Graph *graph, Text input, long *port)
{
    const char *digit = input.end;
    PyObject *number = find(graph, input.at, input.end);
    *port = 0;
    if (number || PyErr_Occurred() || input.at == input.end)
        return number;
    if (*input.at == '^') {
        *port = CONTROL;
        return find(graph, input.at + 1, input.end);
    }
    while (digit > input.at && '0' <= digit[-1] && digit[-1] <= '9')
        digit--;
    if (digit == input.at || digit[-1] != ':' || digit == input.end
        || input.end - digit > MOST_DIGITS)
        return NULL;
    number = find(graph, input.at, digit - 1);
    for (; digit < input.end; digit++)
        *port = 10 * *port + (*digit - '0');
    return number;
}

/* The nodes behind the inputs of `head`, and `head->ports`; None if one of them is not known yet. */
static PyObject *find_inputs(Graph *graph)
{
    Head *head = &graph->head;
    PyObject *row = PyTuple_New(head->count), *number;
    Py_ssize_t i;
    int good = row != NULL, all = 1;
    for (i = 0; good && i < head->count; i++) {
        number = find_input(graph, head->inputs[i], &head->ports[i]);
        all = all && number;
        good = !PyErr_Occurred()
            && !(i && head->ports[i - 1] == CONTROL && head->ports[i] != CONTROL);
        if (number) {
            Py_INCREF(number);
            PyTuple_SetItem(row, i, number);
        }
    }
    if (good && all)
        return row;
    Py_XDECREF(row);
    if (!good)
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *ports_of(Graph *graph)
{
    Head *head = &graph->head;
    PyObject **shared = head->count < SHARED ? &graph->first_outputs[head->count] : NULL, *ports;
    Py_ssize_t i;
    for (i = 0; i < head->count; i++)
        if (head->ports[i])
            shared = NULL;
    if (shared && *shared) {
        Py_INCREF(*shared);
        return *shared;
    }
    ports = PyTuple_New(head->count);
    for (i = 0; ports && i < head->count; i++) {
        PyObject *port = PyLong_FromLong(head->ports[i]);
        if (!port || PyTuple_SetItem(ports, i, port) < 0)
            Py_CLEAR(ports);
    }
    if (shared) {
        Py_XINCREF(ports);
        *shared = ports;
    }
    return ports;
}

/* The graph */

/* An owned reference: one object for each type, not for each node. */
static PyObject *type_of(Graph *graph)
{
    Text type = graph->head.type;
    PyObject *key = PyBytes_FromStringAndSize(type.at, type.end - type.at);
    PyObject *text = key ? PyDict_GetItemWithError(graph->texts, key) : NULL;
    Py_XINCREF(text);
    if (key && !text && !PyErr_Occurred()) {
        text = PyUnicode_DecodeUTF8(type.at, type.end - type.at, "replace");
        if (text && PyDict_SetItem(graph->texts, key, text) < 0)
            Py_CLEAR(text);
    }
    Py_XDECREF(key);
    return text;
}

/* Takes the reference to `one`. */
static int append(PyObject *list, PyObject *one)
{
    int good = one && PyList_Append(list, one) == 0;
    Py_XDECREF(one);
    return good;
}

static int append_inputs(Graph *graph, PyObject *number)
{
    PyObject *row = find_inputs(graph);
    if (row != Py_None)
        return append(graph->sources, row) && append(graph->ports, ports_of(graph));
    Py_DECREF(row);
    return PyList_Append(graph->early, number) == 0 && PyList_Append(graph->sources, Py_None) == 0
        && PyList_Append(graph->ports, Py_None) == 0;
}

static int append_node(Graph *graph, PyObject *number)
{
    Text name = graph->head.name;
    PyObject *key = PyBytes_FromStringAndSize(name.at, name.end - name.at);
    int good = key && append(graph->types, type_of(graph)) && append_inputs(graph, number)
        && PyDict_SetItem(graph->index, key, number) == 0;
    return append(graph->names, key) && good;
}

static int read_names_and_inputs(Graph *graph, PyObject *nodes)
{
    PyObject *every = PyObject_GetIter(nodes), *node;
    Py_ssize_t count = 0;
    int good = every != NULL;
    while (good && (node = PyIter_Next(every))) {
        PyObject *number = PyLong_FromSsize_t(count++);
        good = number && read_head(&graph->head, node) && append_node(graph, number);
        Py_XDECREF(number);
        Py_DECREF(node);
    }
    Py_XDECREF(every);
    return good && !PyErr_Occurred() && PyDict_Size(graph->index) == count; /* no name twice */
}

/* Those of nodes with an input that follows them. */
static int read_late_inputs(Graph *graph, PyObject *nodes)
{
    Py_ssize_t i;
    for (i = 0; i < PyList_Size(graph->early); i++) {
        Py_ssize_t number = PyLong_AsSsize_t(PyList_GetItem(graph->early, i));
        PyObject *node = PySequence_GetItem(nodes, number), *row = NULL, *ports = NULL;
        int good = node && read_head(&graph->head, node) && (row = find_inputs(graph))
            && row != Py_None && (ports = ports_of(graph));
        Py_XDECREF(node);
        if (!good) {
            Py_XDECREF(row);
            return 0;
        }
        if (PyList_SetItem(graph->sources, number, row) < 0
            || PyList_SetItem(graph->ports, number, ports) < 0)
            return 0;
    }
    return 1;
}

static PyMethodDef methods[] = {
    {"read_nodes", read_nodes, METH_O,
     "read_nodes(nodes) -> (names, index, types, sources, ports, early), or None"},
    {NULL}};
static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, "_nodes", NULL, -1, methods};

PyMODINIT_FUNC PyInit__nodes(void)
{
    return PyModule_Create(&definition);
}
