/*-------------------------------------------------------------------------
 *
 * types_fuzz.c
 *	  Input functions and casts of vector, halfvec and sparsevec under libFuzzer.
 *
 * Proves for every input that the fuzzer thinks of: no memory error, no
 * undefined behavior; it gives a value or one of the SQLSTATEs documented for
 * its form; and of a value, that
 *
 *	- it is one that the type allows, to the last byte
 *	- text and binary form, and an array, read back as the same bytes
 *	- it fits a column of its length and no other
 *	- casts to the other types and back keep its elements
 *	- its numbers are what strtof() reads (vector), or those of a cast from
 *	  vector (halfvec)
 *
 * An input begins with a letter for the type (v, h, s), one for the form (t
 * text, b binary, a array, m type modifier), a decimal number and a colon; the
 * form follows.  If the number is not zero, the form is of three parts
 * separated by "|", and the second is repeated so often: long values from short
 * inputs.  See seeds/ for examples; "make fuzz" and "make check-fuzz" run it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "lib/stringinfo.h"
#include "utils/array.h"

#include "distance/distance.h"
#include "fuzz_backend.h"
#include "types/halfvec.h"
#include "types/sparsevec.h"
#include "types/vector.h"

/* enough for 16,000 elements of every form */
#define MAX_FORM_BYTES 160000
#define MAX_MODIFIERS 4

/* What an SQLSTATE may come from, besides those of every form */
#define FROM_TEXT 1
#define FROM_BINARY 2
#define FROM_ARRAY 4
#define FROM_CAST 8

typedef struct FuzzType
{
	char		letter;			/* as an input begins with */
	const VectorListType *list;
	PGFunction	in;
	PGFunction	out;
	PGFunction	recv;
	PGFunction	send;
	PGFunction	typmod_in;
	PGFunction	from_array;
	PGFunction	adjust;			/* to the length of a column */
	int			(*check) (Datum value); /* returns the number of dimensions */
} FuzzType;

extern int	LLVMFuzzerInitialize(int *argc, char ***argv);
extern int	LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

extern Datum vector_in(PG_FUNCTION_ARGS);
extern Datum vector_out(PG_FUNCTION_ARGS);
extern Datum vector_recv(PG_FUNCTION_ARGS);
extern Datum vector_send(PG_FUNCTION_ARGS);
extern Datum vector_typmod_in(PG_FUNCTION_ARGS);
extern Datum array_to_vector(PG_FUNCTION_ARGS);
extern Datum vector_to_float4(PG_FUNCTION_ARGS);
extern Datum vector_to_halfvec(PG_FUNCTION_ARGS);
extern Datum vector_to_sparsevec(PG_FUNCTION_ARGS);
extern Datum vector(PG_FUNCTION_ARGS);
extern Datum halfvec_in(PG_FUNCTION_ARGS);
extern Datum halfvec_out(PG_FUNCTION_ARGS);
extern Datum halfvec_recv(PG_FUNCTION_ARGS);
extern Datum halfvec_send(PG_FUNCTION_ARGS);
extern Datum halfvec_typmod_in(PG_FUNCTION_ARGS);
extern Datum array_to_halfvec(PG_FUNCTION_ARGS);
extern Datum halfvec_to_float4(PG_FUNCTION_ARGS);
extern Datum halfvec_to_vector(PG_FUNCTION_ARGS);
extern Datum halfvec_to_sparsevec(PG_FUNCTION_ARGS);
extern Datum halfvec(PG_FUNCTION_ARGS);
extern Datum sparsevec_in(PG_FUNCTION_ARGS);
extern Datum sparsevec_out(PG_FUNCTION_ARGS);
extern Datum sparsevec_recv(PG_FUNCTION_ARGS);
extern Datum sparsevec_send(PG_FUNCTION_ARGS);
extern Datum sparsevec_typmod_in(PG_FUNCTION_ARGS);
extern Datum array_to_sparsevec(PG_FUNCTION_ARGS);
extern Datum sparsevec_to_vector(PG_FUNCTION_ARGS);
extern Datum sparsevec_to_halfvec(PG_FUNCTION_ARGS);
extern Datum sparsevec(PG_FUNCTION_ARGS);

static char *read_form(const uint8_t *data, size_t size, int *length);
static void fuzz_text(const FuzzType *type, char *text);
static void fuzz_binary(const FuzzType *type, char *form, int length);
static void fuzz_array(const FuzzType *type, char *form, int length);
static void fuzz_modifier(const FuzzType *type, char *form, int length);
static ArrayType *make_array(const char *form, int length);
static bool call(PGFunction function, Datum *result, Datum arg0, Datum arg1,
				 Datum arg2, int from);
static Datum must(PGFunction function, Datum arg0);
static Datum must_read(const FuzzType *type, const char *text);
static void check_value(const FuzzType *type, Datum value);
static void check_length(const FuzzType *type, PGFunction function, Datum arg0, int dim);
static void check_text(const FuzzType *type, const char *text, Datum value);
static void check_casts(const FuzzType *type, Datum value, int dim);
static int	check_vector(Datum value);
static int	check_halfvec(Datum value);
static int	check_sparsevec(Datum value);
static StringInfo message_of(const char *bytes, int length);
static bool same_bytes(Datum a, Datum b);
static bool same_elements(Datum a, Datum b);

static const FuzzType types[] = {
	{'v', &vector_list_type, vector_in, vector_out, vector_recv, vector_send,
	vector_typmod_in, array_to_vector, vector, check_vector},
	{'h', &halfvec_list_type, halfvec_in, halfvec_out, halfvec_recv, halfvec_send,
	halfvec_typmod_in, array_to_halfvec, halfvec, check_halfvec},
	{'s', &sparsevec_list_type, sparsevec_in, sparsevec_out, sparsevec_recv, sparsevec_send,
	sparsevec_typmod_in, array_to_sparsevec, sparsevec, check_sparsevec}
};

int
LLVMFuzzerInitialize(int *argc, char ***argv)
{
	DistanceInit();
	return 0;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const FuzzType *type = NULL;
	int			length;
	char	   *form;

	if (size < 2)
		return 0;
	for (int i = 0; i < lengthof(types); i++)
	{
		if (types[i].letter == data[0])
			type = &types[i];
	}
	form = read_form(data + 2, size - 2, &length);
	if (type != NULL && form != NULL)
	{
		if (data[1] == 't')
			fuzz_text(type, form);
		else if (data[1] == 'b')
			fuzz_binary(type, form, length);
		else if (data[1] == 'a')
			fuzz_array(type, form, length);
		else if (data[1] == 'm')
			fuzz_modifier(type, form, length);
	}
	FuzzReset();
	return 0;
}

/*
 * What follows the first two letters, repeated as it asks for, in memory that
 * ends with the zero byte after it; NULL if it is not of this form.
 */
static char *
read_form(const uint8_t *data, size_t size, int *length)
{
	const uint8_t *end = data + size;
	const uint8_t *middle;
	const uint8_t *last;
	int			count = 0;
	int			part[3];
	char	   *result;

	while (data < end && *data >= '0' && *data <= '9' && count < 100000)
		count = count * 10 + (*data++ - '0');
	if (data == end || *data++ != ':')
		return NULL;
	if (data == end)
		middle = last = end;
	else
	{
		middle = count > 0 ? memchr(data, '|', end - data) : NULL;
		last = middle ? memchr(middle + 1, '|', end - middle - 1) : NULL;
		if (last == NULL)
			middle = last = end;
	}

	part[0] = middle - data;
	part[1] = middle < end ? last - middle - 1 : 0;
	part[2] = middle < end ? end - last - 1 : 0;
	if (part[1] > 0)
		count = Min(count, MAX_FORM_BYTES / part[1]);
	else
		count = 0;

	*length = part[0] + count * part[1] + part[2];
	result = palloc(*length + 1);
	memcpy(result, data, part[0]);
	for (int i = 0; i < count; i++)
		memcpy(result + part[0] + i * part[1], middle + 1, part[1]);
	if (part[2] > 0)
		memcpy(result + *length - part[2], last + 1, part[2]);
	result[*length] = '\0';
	return result;
}

/* ----------
 * The forms
 * ----------
 */

static void
fuzz_text(const FuzzType *type, char *form)
{
	char	   *text = pnstrdup(form, strlen(form));
	Datum		value;

	if (!call(type->in, &value, CStringGetDatum(text), 0, Int32GetDatum(-1), FROM_TEXT))
		return;
	check_value(type, value);
	check_length(type, type->in, CStringGetDatum(text), type->check(value));
	check_text(type, text, value);
}

static void
fuzz_binary(const FuzzType *type, char *form, int length)
{
	StringInfo	message = message_of(form, length);
	Datum		value;
	bytea	   *sent;

	if (!call(type->recv, &value, PointerGetDatum(message), 0, Int32GetDatum(-1), FROM_BINARY))
		return;
	check_value(type, value);

	/* The server refuses what recv has left over.  The rest is the form. */
	sent = (bytea *) DatumGetPointer(must(type->send, value));
	FUZZ_REQUIRE(VARSIZE(sent) - VARHDRSZ == message->cursor);
	FUZZ_REQUIRE(memcmp(VARDATA(sent), message->data, message->cursor) == 0);
}

static void
fuzz_array(const FuzzType *type, char *form, int length)
{
	ArrayType  *array = make_array(form, length);
	Datum		value;

	if (array == NULL ||
		!call(type->from_array, &value, PointerGetDatum(array), Int32GetDatum(-1), 0,
			  FROM_ARRAY | FROM_CAST))
		return;
	check_value(type, value);
	FUZZ_REQUIRE(type->check(value) == ARR_DIMS(array)[0]);
	if (type->letter == 'v' && ARR_ELEMTYPE(array) == FLOAT4OID)
	{
		Vector	   *read = DatumGetVector(value);

		FUZZ_REQUIRE(memcmp(read->x, ARR_DATA_PTR(array), sizeof(float) * read->dim) == 0);
	}
}

/* Numbers of 32 bits as the modifiers. */
static void
fuzz_modifier(const FuzzType *type, char *form, int length)
{
	FuzzTypmods *typmods;
	Datum		result;
	bool		valid;
	int			n = Min(length / sizeof(int32), MAX_MODIFIERS);

	typmods = palloc(offsetof(FuzzTypmods, modifier) + n * sizeof(int32));
	typmods->n = n;
	memcpy(typmods->modifier, form, n * sizeof(int32));
	valid = n == 1 && typmods->modifier[0] >= 1 && typmods->modifier[0] <= type->list->max_dim;

	if (valid)
	{
		result = must(type->typmod_in, PointerGetDatum(typmods));
		FUZZ_REQUIRE(DatumGetInt32(result) == typmods->modifier[0]);
	}
	else
		FUZZ_REQUIRE(FuzzCall(type->typmod_in, &result, PointerGetDatum(typmods), 0, 0)
					 == ERRCODE_INVALID_PARAMETER_VALUE);
}

/*
 * An array of what the form says: a byte for the number of dimensions, one for
 * the type of the elements, one for the null bitmap (0: none), the elements.
 */
static ArrayType *
make_array(const char *form, int length)
{
	static const Oid element_types[] = {INT4OID, FLOAT4OID, FLOAT8OID, INT8OID};
	static const int element_bytes[] = {4, 4, 8, 8};
	int			num_dims;
	int			kind;
	int			dim;
	bool		nulls;
	int			offset;
	ArrayType  *result;

	if (length < 3)
		return NULL;
	num_dims = (unsigned char) form[0] % 4;
	kind = (unsigned char) form[1] % lengthof(element_types);
	nulls = form[2] != 0;
	dim = (length - 3) / element_bytes[kind];
	if (dim == 0)				/* the server has no other empty arrays */
		num_dims = 0;
	if (num_dims == 0)
		dim = 0;

	offset = nulls ? ARR_OVERHEAD_WITHNULLS(num_dims, dim) : ARR_OVERHEAD_NONULLS(num_dims);
	result = palloc0(offset + dim * element_bytes[kind]);
	SET_VARSIZE(result, offset + dim * element_bytes[kind]);
	result->ndim = num_dims;
	result->dataoffset = nulls ? offset : 0;
	result->elemtype = element_types[kind];
	for (int i = 0; i < num_dims; i++)
	{
		ARR_DIMS(result)[i] = i == 0 ? dim : 1;
		ARR_LBOUND(result)[i] = 1;
	}
	/* With all bits set there is a bitmap and no null, as slices have it. */
	if (nulls)
		memset(ARR_NULLBITMAP(result), form[2], (dim + 7) / 8);
	if (dim > 0)
		memcpy(ARR_DATA_PTR(result), form + 3, dim * element_bytes[kind]);
	return result;
}

/* ----------
 * Calls
 * ----------
 */

/* True for a result; an error must be one that is documented for 'from'. */
static bool
call(PGFunction function, Datum *result, Datum arg0, Datum arg1, Datum arg2, int from)
{
	switch (FuzzCall(function, result, arg0, arg1, arg2))
	{
		case 0:
			return true;
		case ERRCODE_DATA_EXCEPTION:
		case ERRCODE_PROGRAM_LIMIT_EXCEEDED:
			break;
		case ERRCODE_INVALID_TEXT_REPRESENTATION:
			FUZZ_REQUIRE(from & FROM_TEXT);
			break;
		case ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE:
			FUZZ_REQUIRE(from & (FROM_TEXT | FROM_CAST));
			break;
		case ERRCODE_PROTOCOL_VIOLATION:
			FUZZ_REQUIRE(from & FROM_BINARY);
			break;
		case ERRCODE_NULL_VALUE_NOT_ALLOWED:
			FUZZ_REQUIRE(from & FROM_ARRAY);
			break;
		default:
			FUZZ_REQUIRE(!"SQLSTATE is documented");
	}
	return false;
}

/* The result of a function that must not fail, without a modifier. */
static Datum
must(PGFunction function, Datum arg0)
{
	Datum		result;

	FUZZ_REQUIRE(FuzzCall(function, &result, arg0, Int32GetDatum(-1), 0) == 0);
	return result;
}

/* The text as a value, without a modifier. */
static Datum
must_read(const FuzzType *type, const char *text)
{
	Datum		result;

	FUZZ_REQUIRE(FuzzCall(type->in, &result, CStringGetDatum(text), 0, Int32GetDatum(-1)) == 0);
	return result;
}

/* ----------
 * What must hold of a value
 * ----------
 */

static void
check_value(const FuzzType *type, Datum value)
{
	int			dim = type->check(value);
	bytea	   *sent = (bytea *) DatumGetPointer(must(type->send, value));
	char	   *text = DatumGetCString(must(type->out, value));
	StringInfo	message = message_of(VARDATA(sent), VARSIZE(sent) - VARHDRSZ);
	Datum		copy;

	FUZZ_REQUIRE(same_bytes(must_read(type, pnstrdup(text, strlen(text))), value));

	check_length(type, type->recv, PointerGetDatum(message), dim);
	message->cursor = 0;
	FUZZ_REQUIRE(FuzzCall(type->recv, &copy, PointerGetDatum(message), 0, Int32GetDatum(-1)) == 0);
	FUZZ_REQUIRE(message->cursor == message->len);
	FUZZ_REQUIRE(same_bytes(copy, value));

	FUZZ_REQUIRE(FuzzCall(type->adjust, &copy, value, Int32GetDatum(dim), 0) == 0);
	FUZZ_REQUIRE(same_bytes(copy, value));
	FUZZ_REQUIRE(FuzzCall(type->adjust, &copy, value, Int32GetDatum(dim + 1), 0)
				 == ERRCODE_DATA_EXCEPTION);
	check_casts(type, value, dim);
}

/* An input function accepts the column's length and no other. */
static void
check_length(const FuzzType *type, PGFunction function, Datum arg0, int dim)
{
	bool		is_message = function == type->recv;
	Datum		ignored;

	if (is_message)
		((StringInfo) DatumGetPointer(arg0))->cursor = 0;
	FUZZ_REQUIRE(FuzzCall(function, &ignored, arg0, 0, Int32GetDatum(dim)) == 0);
	if (is_message)
		((StringInfo) DatumGetPointer(arg0))->cursor = 0;
	FUZZ_REQUIRE(FuzzCall(function, &ignored, arg0, 0, Int32GetDatum(dim == 1 ? 2 : 1))
				 == ERRCODE_DATA_EXCEPTION);
}

/* The value has the numbers of the text that it was read from. */
static void
check_text(const FuzzType *type, const char *text, Datum value)
{
	if (type->letter == 'v')
	{
		Vector	   *read = DatumGetVector(value);
		const char *p = text;

		for (int i = 0; i < read->dim; i++)
		{
			float		x;

			p = strchr(p, i == 0 ? '[' : ',') + 1;
			x = strtof(p, NULL);
			FUZZ_REQUIRE(memcmp(&x, &read->x[i], sizeof(x)) == 0);
		}
	}
	else if (type->letter == 'h')
		FUZZ_REQUIRE(same_bytes(must(vector_to_halfvec, must_read(&types[0], text)), value));
}

static void
check_casts(const FuzzType *type, Datum value, int dim)
{
	Datum		other;

	if (type->letter == 'v')
	{
		FUZZ_REQUIRE(same_bytes(must(array_to_vector, must(vector_to_float4, value)), value));
		other = must(vector_to_sparsevec, value);
		check_sparsevec(other);
		FUZZ_REQUIRE(same_elements(must(sparsevec_to_vector, other), value));
		if (call(vector_to_halfvec, &other, value, Int32GetDatum(-1), 0, FROM_CAST))
			check_halfvec(other);
	}
	else if (type->letter == 'h')
	{
		FUZZ_REQUIRE(same_bytes(must(array_to_halfvec, must(halfvec_to_float4, value)), value));
		other = must(halfvec_to_vector, value);
		check_vector(other);
		FUZZ_REQUIRE(same_bytes(must(vector_to_halfvec, other), value));
		FUZZ_REQUIRE(same_bytes(must(halfvec_to_sparsevec, value), must(vector_to_sparsevec, other)));
	}
	else if (dim > VECTOR_MAX_DIM)
	{
		FUZZ_REQUIRE(FuzzCall(sparsevec_to_vector, &other, value, Int32GetDatum(-1), 0)
					 == ERRCODE_PROGRAM_LIMIT_EXCEEDED);
		FUZZ_REQUIRE(FuzzCall(sparsevec_to_halfvec, &other, value, Int32GetDatum(-1), 0)
					 == ERRCODE_PROGRAM_LIMIT_EXCEEDED);
	}
	else
	{
		other = must(sparsevec_to_vector, value);
		check_vector(other);
		FUZZ_REQUIRE(same_bytes(must(vector_to_sparsevec, other), value));
		if (call(sparsevec_to_halfvec, &other, value, Int32GetDatum(-1), 0, FROM_CAST))
			check_halfvec(other);
	}
}

static int
check_vector(Datum value)
{
	Vector	   *read = DatumGetVector(value);

	FUZZ_REQUIRE(read->dim >= 1 && read->dim <= VECTOR_MAX_DIM);
	FUZZ_REQUIRE(VARSIZE(read) == VECTOR_SIZE(read->dim));
	FUZZ_REQUIRE(read->unused == 0);
	for (int i = 0; i < read->dim; i++)
		FUZZ_REQUIRE(isfinite(read->x[i]));
	return read->dim;
}

static int
check_halfvec(Datum value)
{
	Halfvec    *read = DatumGetHalfvec(value);

	FUZZ_REQUIRE(read->dim >= 1 && read->dim <= HALFVEC_MAX_DIM);
	FUZZ_REQUIRE(VARSIZE(read) == HALFVEC_SIZE(read->dim));
	FUZZ_REQUIRE(read->unused == 0);
	for (int i = 0; i < read->dim; i++)
		FUZZ_REQUIRE(HalfIsFinite(read->x[i]));
	return read->dim;
}

static int
check_sparsevec(Datum value)
{
	Sparsevec  *read = DatumGetSparsevec(value);

	FUZZ_REQUIRE(read->dim >= 1 && read->dim <= SPARSEVEC_MAX_DIM);
	FUZZ_REQUIRE(read->nnz >= 0 && read->nnz <= SPARSEVEC_MAX_NNZ);
	FUZZ_REQUIRE(VARSIZE(read) == SPARSEVEC_SIZE(read->nnz));
	FUZZ_REQUIRE(read->unused == 0);
	for (int i = 0; i < read->nnz; i++)
	{
		FUZZ_REQUIRE(read->indices[i] >= 0 && read->indices[i] < read->dim);
		FUZZ_REQUIRE(i == 0 || read->indices[i] > read->indices[i - 1]);
		FUZZ_REQUIRE(isfinite(SPARSEVEC_X(read)[i]) && SPARSEVEC_X(read)[i] != 0);
	}
	return read->dim;
}

/* A message with these bytes, in memory that ends where they end. */
static StringInfo
message_of(const char *bytes, int length)
{
	StringInfo	result = palloc0(sizeof(StringInfoData));

	result->data = palloc(length);
	memcpy(result->data, bytes, length);
	result->len = result->maxlen = length;
	return result;
}

static bool
same_bytes(Datum a, Datum b)
{
	Size		size = VARSIZE(DatumGetPointer(a));

	return size == VARSIZE(DatumGetPointer(b)) &&
		memcmp(DatumGetPointer(a), DatumGetPointer(b), size) == 0;
}

/* Two vectors; zeros of either sign are the same. */
static bool
same_elements(Datum a, Datum b)
{
	Vector	   *x = DatumGetVector(a);
	Vector	   *y = DatumGetVector(b);

	if (x->dim != y->dim)
		return false;
	for (int i = 0; i < x->dim; i++)
	{
		if (x->x[i] != y->x[i])
			return false;
	}
	return true;
}
