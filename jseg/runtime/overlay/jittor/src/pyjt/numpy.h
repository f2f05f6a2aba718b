// Takes the place of Jittor 1.3.11's file of this name in the copy that jseg imports Jittor from; derived from it
// (Copyright (c) 2023 Jittor, Apache-2.0, authors: Dun Liang <randonlang@gmail.com>). What differs, and why:
//  - Only fields are read that NumPy 1 and NumPy 2 keep at the same place. Jittor also reads the size of an element,
//    which NumPy 2 has moved; here it follows from the type. One compiled core serves both versions.
//  - Arrays that are unaligned, byte-swapped or of long double count as not contiguous. Jittor lets NumPy copy such
//    arrays, into memory of the plain type. Otherwise it copies bytes as they are, swapped ones too.
//  - A NumPy scalar used as an index is asked for its value, instead of having it cast by a half-made descriptor.
#pragma once
#include "pyjt/py_obj_holder.h"
#include "common.h"
#include "misc/nano_string.h"
#include "ops/array_op.h"

namespace jittor {

// The first fields of PyArray_Descr; py_converter.h makes one on the stack.
struct PyArrayDescr_Proxy {
    PyObject_HEAD
    PyObject* typeobj;
    char kind;
    char type;
    char byteorder;
    char former_flags;
    int type_num;
};

// The first fields of PyArrayObject.
struct PyArray_Proxy {
    PyObject_HEAD
    char* data;
    int nd;
    Py_ssize_t* dimensions;
    Py_ssize_t* strides;
    PyObject *base;
    PyArrayDescr_Proxy *descr;
    int flags;
};

enum NPY_TYPES {
    NPY_BOOL=0,
    NPY_BYTE, NPY_UBYTE,
    NPY_SHORT, NPY_USHORT,
    NPY_INT, NPY_UINT,
    NPY_LONG, NPY_ULONG,
    NPY_LONGLONG, NPY_ULONGLONG,
    NPY_FLOAT, NPY_DOUBLE, NPY_LONGDOUBLE,
    NPY_CFLOAT, NPY_CDOUBLE, NPY_CLONGDOUBLE,
    NPY_OBJECT=17,
    NPY_HALF=23,
    NPY_END=24,
};

EXTERN_LIB NanoString npy2ns[];
EXTERN_LIB NPY_TYPES ns2npy[];

#define NPY_ARRAY_C_CONTIGUOUS    0x0001
#define NPY_ARRAY_FORCECAST       0x0010
#define NPY_ARRAY_ALIGNED         0x0100
#define NPY_ARRAY_NOTSWAPPED      0x0200
#define NPY_ARRAY_WRITEABLE       0x0400

#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
#define NPY_OPPBYTE '<'
#else
#define NPY_OPPBYTE '>'
#endif

// Throws one sentence that names the type.
void refuse_numpy_type(PyArrayDescr_Proxy* descr);

// True if the bytes of the array are those that Jittor stores.
inline bool is_c_style(PyArray_Proxy* obj) {
    const int plain = NPY_ARRAY_C_CONTIGUOUS | NPY_ARRAY_ALIGNED;
    return (obj->flags & plain) == plain
        && obj->descr->byteorder != NPY_OPPBYTE
        && obj->descr->type_num != NPY_LONGDOUBLE;
}

// The type that Jittor stores an array as.
inline NanoString get_type_str(PyArray_Proxy* obj) {
    NanoString type = ns_void;
    auto number = obj->descr->type_num;
    if (number >= 0 && number < NPY_END)
        type = npy2ns[number];
    if (type == ns_void)
        refuse_numpy_type(obj->descr);
    return type;
}

inline int get_typenum(NanoString ns) {
    return ns2npy[ns.index()];
}

typedef Py_intptr_t npy_intp;

EXTERN_LIB void** PyArray_API;
EXTERN_LIB PyTypeObject *PyArray_Type;
EXTERN_LIB PyTypeObject *PyNumberArrType_Type;
EXTERN_LIB PyObject* (*PyArray_New)(PyTypeObject *, int, npy_intp const *, int, npy_intp const *, void *, int, int, PyObject *);
EXTERN_LIB int (*PyArray_SetBaseObject)(PyObject *arr, PyObject *obj);
EXTERN_LIB int (*PyArray_CopyInto)(PyObject *, PyObject *);

#define PyArray_SimpleNew(nd, dims, typenum) \
        PyArray_New(PyArray_Type, nd, dims, typenum, NULL, NULL, 0, 0, NULL)

// An array with the values of `obj` whose bytes Jittor can copy; `obj` itself where it is one.
PyObject* plain_array(PyObject* obj);
inline PyObject* PyArray_FROM_O(PyObject* obj) { return plain_array(obj); }
inline PyObject* PyArray_Copy(PyObject* obj) { return plain_array(obj); }

// The value of a NumPy scalar that is used as an index, an int; the name is that of the function that Jittor calls.
void PyArray_CastScalarToCtype(PyObject* scalar, void* value, PyArrayDescr_Proxy* int32);

// Bytes that Jittor stores an array in.
inline int64 PyArray_Size(PyArray_Proxy* arr) {
    int64 size = get_type_str(arr).dsize();
    for (int i=0; i<arr->nd; i++)
        size *= arr->dimensions[i];
    return size;
}

union tmp_data_t {
    int32 i32;
    float32 f32;
    int8 i8;
};

EXTERN_LIB tmp_data_t tmp_data;

void numpy_init();

} // jittor
