/*-------------------------------------------------------------------------
 *
 * distance_cost.c
 *	  What the planner must know about the cost of a distance.
 *
 * By default it takes a function for as cheap as the sum of two integers.  A
 * vector that is stored out of line costs a hundred times as much to fetch; a
 * plan that reads every row for its distance would look cheap.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "nodes/nodeFuncs.h"
#include "nodes/supportnodes.h"
#include "optimizer/optimizer.h"

#include "vecdist_compat.h"

VECDIST_FUNCTION_INFO_V1(vector_distance_support);
VECDIST_FUNCTION_INFO_V1(halfvec_distance_support);

/* In units of cpu_operator_cost, of which a microsecond has a hundred */
#define CALL 4
#define DIMENSION 0.04
#define OUT_OF_LINE 300

/* Longer values are stored out of line, if their column allows. */
#define INLINE_BYTES 2000

static Node *support(Node *request, int bytes_per_dimension);
static double argument_cost(Node *argument, int bytes_per_dimension);

/* Planner support function of the distances between vectors. */
Datum
vector_distance_support(PG_FUNCTION_ARGS)
{
	PG_RETURN_POINTER(support((Node *) PG_GETARG_POINTER(0), 4));
}

/* The same for halfvec. */
Datum
halfvec_distance_support(PG_FUNCTION_ARGS)
{
	PG_RETURN_POINTER(support((Node *) PG_GETARG_POINTER(0), 2));
}

/* Answers requests for the cost; NULL means no answer. */
static Node *
support(Node *request, int bytes_per_dimension)
{
	SupportRequestCost *cost = (SupportRequestCost *) request;
	List	   *arguments = NIL;
	double		operations = CALL;
	ListCell   *cell;

	if (!IsA(request, SupportRequestCost))
		return NULL;
	if (cost->node && IsA(cost->node, OpExpr))
		arguments = castNode(OpExpr, cost->node)->args;
	else if (cost->node && IsA(cost->node, FuncExpr))
		arguments = castNode(FuncExpr, cost->node)->args;

	foreach(cell, arguments)
		operations += argument_cost(lfirst(cell), bytes_per_dimension);
	cost->startup = 0;
	cost->per_tuple = operations * cpu_operator_cost;
	return request;
}

/* Cost of an argument whose length is known and that is not constant. */
static double
argument_cost(Node *argument, int bytes_per_dimension)
{
	int32		dims = exprTypmod(argument);

	if (dims <= 0 || IsA(argument, Const) || IsA(argument, Param))
		return 0;
	return dims * DIMENSION +
		(IsA(argument, Var) && dims * bytes_per_dimension > INLINE_BYTES ?
		 OUT_OF_LINE : 0);
}
