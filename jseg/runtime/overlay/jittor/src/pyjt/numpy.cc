// Takes the place of Jittor 1.3.11's file of this name, see numpy.h beside it (Copyright (c) 2023 Jittor, Apache-2.0).
#include <climits>
#include "pyjt/numpy.h"

namespace jittor {

// By NPY_TYPES; ns_void: Jittor has no such type.
NanoString npy2ns[] = {
    ns_bool,
    ns_int8, ns_uint8,
    ns_int16, ns_uint16,
    ns_int32, ns_uint32,
    ns_int64, ns_uint64,
    ns_int64, ns_uint64,
    ns_float32, ns_float64, ns_float64,
    ns_void, ns_void, ns_void,
    ns_void, // 17
    ns_void, ns_void, ns_void, ns_void, ns_void, // 22
    ns_float16, // 23
};

NPY_TYPES ns2npy[] = {
    NPY_OBJECT, // placeholder for ns_void
    NPY_BOOL,
    NPY_BYTE, NPY_SHORT, NPY_INT, NPY_LONGLONG,
    NPY_UBYTE, NPY_USHORT, NPY_UINT, NPY_ULONGLONG,
    NPY_HALF, NPY_FLOAT, NPY_DOUBLE,
    NPY_USHORT // the bits of a bfloat16
};

void** PyArray_API;
PyTypeObject *PyArray_Type;
PyTypeObject *PyNumberArrType_Type;
PyObject* (*PyArray_New)(PyTypeObject *, int, npy_intp const *, int, npy_intp const *, void *, int, int, PyObject *);
int (*PyArray_SetBaseObject)(PyObject *arr, PyObject *obj);
int (*PyArray_CopyInto)(PyObject *, PyObject *);

// Places in NumPy's table of functions; all but that of PyArray_CopyInto are the same in NumPy 1 and 2.
static unsigned int (*PyArray_GetNDArrayCVersion)();
static PyObject* (*PyArray_DescrFromType)(int);
static PyObject* (*PyArray_FromAny)(PyObject *, PyObject *, int, int, int, PyObject *);
static PyObject* (*PyArray_CheckFromAny)(PyObject *, PyObject *, int, int, int, PyObject *);

tmp_data_t tmp_data;

void refuse_numpy_type(PyArrayDescr_Proxy* descr) {
    PyObjHolder name(PyObject_Str((PyObject*)descr));
    LOGf << "Jittor has no values of NumPy's type" << PyUnicode_AsUTF8(name.obj)
        >> "; convert the array first, for instance with .astype('float32')";
}

PyObject* plain_array(PyObject* obj) {
    const int plain = NPY_ARRAY_C_CONTIGUOUS | NPY_ARRAY_ALIGNED;
    PyObjHolder array(PyArray_CheckFromAny(obj, NULL, 0, 0, plain | NPY_ARRAY_NOTSWAPPED, NULL));
    auto type = get_type_str((PyArray_Proxy*)array.obj);
    if (is_c_style((PyArray_Proxy*)array.obj))
        return array.release();
    return PyArray_FromAny(
        array.obj, PyArray_DescrFromType(get_typenum(type)), 0, 0, plain | NPY_ARRAY_FORCECAST, NULL);
}

void PyArray_CastScalarToCtype(PyObject* scalar, void* value, PyArrayDescr_Proxy*) {
    long number = 0;
    PyObject* index = PyNumber_Index(scalar);
    if (index) {
        number = PyLong_AsLong(index);
        Py_DECREF(index);
    }
    if (PyErr_Occurred() || number < INT_MIN || number > INT_MAX) {
        PyErr_Clear();
        LOGf << "an index must be an integer of 32 bits, not" << scalar;
    }
    *(int*)value = number;
}

void numpy_init() {
    // NumPy 2 warns about the name that NumPy 1.25 and older have.
    PyObject* module = PyImport_ImportModule("numpy._core.multiarray");
    if (!module) {
        PyErr_Clear();
        module = PyImport_ImportModule("numpy.core.multiarray");
    }
    PyObjHolder np(module, "numpy is not installed");
    PyObjHolder api(PyObject_GetAttrString(np.obj, "_ARRAY_API"), "numpy _ARRAY_API not found, you may need to reinstall numpy");
    PyArray_API = (void **) PyCapsule_GetPointer(api.obj, NULL);

    #define fill(name, i) name = (decltype(name))PyArray_API[i]
    fill(PyArray_GetNDArrayCVersion, 0);
    auto abi = PyArray_GetNDArrayCVersion() >> 24;
    CHECK(abi == 1 || abi == 2) << "NumPy's binary interface has version" << abi
        >> "; versions 1 and 2 are known: pip install 'numpy<3'";
    fill(PyArray_Type, 2);
    fill(PyNumberArrType_Type, 10); // that of all scalars: truth values are no numbers
    fill(PyArray_DescrFromType, 45);
    fill(PyArray_FromAny, 69);
    fill(PyArray_New, 93);
    fill(PyArray_CheckFromAny, 108);
    fill(PyArray_SetBaseObject, 282);
    fill(PyArray_CopyInto, abi == 1 ? 82 : 50);
    #undef fill
}

} // jittor
