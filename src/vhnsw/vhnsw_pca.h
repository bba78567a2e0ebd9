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

#include "vhnsw/vhnsw_crew.h"

extern VhnswMemory VhnswBeginCovariance(VhnswCrew *crew, int dims);
extern void VhnswAddCovariance(VhnswCrew *crew, const VhnswMemory *covariance,
							   const VhnswMemory *columns, int n, int dims);
extern void VhnswEndCovariance(const VhnswMemory *covariance, int dims);
extern void VhnswPca(VhnswCrew *crew, const VhnswMemory *covariance, int dims,
					 int ncomponents, const VhnswMemory *matrix);
extern void VhnswCovarianceJob(VhnswCrew *crew, const void *arg);
extern void VhnswProductsJob(VhnswCrew *crew, const void *arg);

#endif							/* VHNSW_PCA_H */
