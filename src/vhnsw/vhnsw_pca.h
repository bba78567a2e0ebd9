/*-------------------------------------------------------------------------
 *
 * vhnsw_pca.h
 *	  Principal component analysis of a sample.
 *
 *-------------------------------------------------------------------------
 */
#ifndef VHNSW_PCA_H
#define VHNSW_PCA_H

#include "postgres.h"

extern float *VhnswCovariance(float *columns, int n, int dims);
extern void VhnswPca(const float *covariance, int dims, int ncomponents,
					 float *matrix);

#endif							/* VHNSW_PCA_H */
