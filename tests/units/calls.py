"""Sample calls."""
import torch
from torch import nn
import torch.nn.functional as F
torch.set_default_dtype(torch.float64)
torch.manual_seed(0)
x2=torch.randn(4,6); x3=torch.randn(2,6,8); x4=torch.randn(2,6,8,8); x5=torch.randn(2,6,4,4,4)
W=torch.randn(6,6)
def conv(f,*sh):
    w=torch.randn(*sh); return lambda x:f(x,w,padding=1)
G={}
for n in "tanh sigmoid relu gelu silu mish softplus elu celu selu leaky_relu hardtanh relu6 hardsigmoid hardswish hardshrink softshrink tanhshrink softsign logsigmoid glu threshold_ softmax log_softmax".split():
    f=getattr(F,n,None) or getattr(torch,n,None)
    if n in("softmax","log_softmax","glu"): g=lambda x,f=f:f(x,-1)
    elif n=="threshold_": g=lambda x:F.threshold(x,.1,0.)
    else: g=f
    if n=="softplus": g=F.softplus
    G[n]=(g,x2)
for n in "exp log1p abs sqrt sin cos tan atan asin acos sinh cosh asinh acosh atanh erf erfc erfinv lgamma digamma expm1 log log2 log10 rsqrt reciprocal square sign round floor frac sinc logit exp2 deg2rad neg nan_to_num i0 sgn trunc".split():
    G[n]=(getattr(torch,n),x2.abs()*.1+.3)
for n in "airy_ai bessel_j0 bessel_j1 entr erfcx i0e i1 i1e log_ndtr ndtr ndtri modified_bessel_i0 gammaln psi xlog1py zeta log_softmax softmax multigammaln polygamma gammainc".split():
    f=getattr(torch.special,n)
    if n in("xlog1py","zeta","gammainc"): g=lambda x,f=f:f(x+1.5,x)
    elif n in("softmax","log_softmax"): g=lambda x,f=f:f(x,-1)
    elif n=="multigammaln": g=lambda x:torch.special.multigammaln(x+2,2)
    elif n=="polygamma": g=lambda x:torch.special.polygamma(1,x)
    else: g=f
    G["special."+n]=(g,x2.abs()*.1+.3)
for n in "atan2 hypot maximum minimum fmax fmin pow xlogy logaddexp logaddexp2 fmod remainder copysign nextafter div mul ldexp".split():
    G["b."+n]=(lambda x,f=getattr(torch,n):f(x,x.flip(0)*.7+1),x2.abs()+.1)
G.update(
 linear=(lambda x:F.linear(x,W,W[0]),x2), bilinear=(lambda x:F.bilinear(x,x,torch.randn(5,6,6)),x2), matmul=(lambda x:x@W@x.T,x2), bmm=(lambda x:x@x.transpose(1,2),x3), einsum=(lambda x:torch.einsum("bi,ij,bj->b",x,W,x),x2),
 outer=(lambda x:torch.outer(x[0],x[1]),x2), dot=(lambda x:torch.dot(x[0],x[1]),x2), mv=(lambda x:x.T.mv(x[:,0]),x2), cdist=(lambda x:torch.cdist(x,x*2),x2), pdist=(lambda x:F.pdist(x),x2), cosine=(lambda x:F.cosine_similarity(x,x*2+1),x2), pairwise=(lambda x:F.pairwise_distance(x,x*2+1),x2), normalize=(lambda x:F.normalize(x),x2),
 cross=(lambda x:torch.linalg.cross(x[:,:3],x[:,3:]),x2), kron=(lambda x:torch.kron(x[:2,:2],x[:2,2:4]),x2), tensordot=(lambda x:torch.tensordot(x,W,1),x2),baddbmm=(lambda x:torch.baddbmm(x[:,:,:6],x,x.transpose(1,2)),x3),addbmm=(lambda x:torch.addbmm(x[0,:,:6],x,x.transpose(1,2)),x3),addr=(lambda x:torch.addr(x,x[:,0],x[0]),x2),chain=(lambda x:torch.linalg.multi_dot([x,W,x.T]),x2),
 conv1d=(conv(F.conv1d,5,6,3),x3), conv2d=(conv(F.conv2d,5,6,3,3),x4), conv3d=(conv(F.conv3d,5,6,3,3,3),x5), convt1=(conv(F.conv_transpose1d,6,5,3),x3), convt2=(conv(F.conv_transpose2d,6,5,3,3),x4), dw=(lambda x:F.conv2d(x,torch.ones(6,1,3,3),groups=6),x4),
 layer_norm=(lambda x:F.layer_norm(x,(6,),W[0],W[1]),x2), rms=(lambda x:F.rms_norm(x,(6,),W[0]),x2), gn=(lambda x:F.group_norm(x,2,W[0],W[1]),x4), bn_eval=(lambda x:F.batch_norm(x,W[0],W[1].abs(),W[2],W[3]),x4), bn_train=(lambda x:F.batch_norm(x,None,None,W[2],W[3],training=True),x4), inorm=(lambda x:F.instance_norm(x,weight=W[0],bias=W[1]),x4), lrn=(lambda x:F.local_response_norm(x,2),x4),
 mse=(lambda x:F.mse_loss(x,x*2),x2), l1=(lambda x:F.l1_loss(x,x*2),x2), smooth=(lambda x:F.smooth_l1_loss(x,x*2),x2), huber=(lambda x:F.huber_loss(x,x*2),x2), ce=(lambda x:F.cross_entropy(x,torch.tensor([0,1,2,3])),x2), nll=(lambda x:F.nll_loss(F.log_softmax(x,-1),torch.tensor([0,1,2,3])),x2), ceprob=(lambda x:F.cross_entropy(x,x.softmax(-1)),x2),bce=(lambda x:F.binary_cross_entropy(x.sigmoid(),x.tanh().abs()),x2), bcel=(lambda x:F.binary_cross_entropy_with_logits(x,x.sigmoid()),x2), kl=(lambda x:F.kl_div(x,x.softmax(-1)),x2), pnll=(lambda x:F.poisson_nll_loss(x,x.exp()),x2), gnll=(lambda x:F.gaussian_nll_loss(x,x*2,x.exp()),x2), hinge=(lambda x:F.hinge_embedding_loss(x,x.sign()),x2), margin=(lambda x:F.margin_ranking_loss(x,x*2,x.sign()),x2), triplet=(lambda x:F.triplet_margin_loss(x,x*2,x*3),x2), cosemb=(lambda x:F.cosine_embedding_loss(x,x*2,torch.ones(4)),x2), softm=(lambda x:F.soft_margin_loss(x,x.sign()),x2), mlm=(lambda x:F.multilabel_margin_loss(x,torch.zeros(4,6).long()),x2), mlsm=(lambda x:F.multilabel_soft_margin_loss(x,x.sigmoid()),x2), mm=(lambda x:F.multi_margin_loss(x,torch.tensor([0,1,2,3])),x2), ctc=(lambda x:F.ctc_loss(x.log_softmax(-1)[:,None],torch.tensor([[1,2]]),[4],[2]),x2),
 embedding=(lambda x:F.embedding(torch.tensor([0,1]),x),x2), embbag=(lambda x:F.embedding_bag(torch.tensor([[0,1]]),x),x2),
 maxp1=(lambda x:F.max_pool1d(x,2),x3), maxp2=(lambda x:F.max_pool2d(x,2),x4), maxp3=(lambda x:F.max_pool3d(x,2),x5), avgp1=(lambda x:F.avg_pool1d(x,2),x3), avgp2=(lambda x:F.avg_pool2d(x,2),x4), avgp3=(lambda x:F.avg_pool3d(x,2),x5), aap1=(lambda x:F.adaptive_avg_pool1d(x,3),x3), aap2=(lambda x:F.adaptive_avg_pool2d(x,3),x4), aap2_1=(lambda x:F.adaptive_avg_pool2d(x,1),x4), aap3=(lambda x:F.adaptive_avg_pool3d(x,3),x5), amp1=(lambda x:F.adaptive_max_pool1d(x,3),x3), amp2=(lambda x:F.adaptive_max_pool2d(x,3),x4), amp3=(lambda x:F.adaptive_max_pool3d(x,3),x5), lpp=(lambda x:F.lp_pool2d(x.abs(),2,2),x4),lpp1=(lambda x:F.lp_pool1d(x.abs(),2,2),x3), fmp=(lambda x:F.fractional_max_pool2d(x,2,output_size=3),x4), fmp3=(lambda x:F.fractional_max_pool3d(x,2,output_size=2),x5),unpool=(lambda x:F.max_unpool2d(*F.max_pool2d(x,2,return_indices=True),2),x4),unpool3=(lambda x:F.max_unpool3d(*F.max_pool3d(x,2,return_indices=True),2),x5),
 reflpad=(lambda x:F.pad(x,(1,1),"reflect"),x3), replpad=(lambda x:F.pad(x,(1,1,1,1),"replicate"),x4), circ=(lambda x:F.pad(x,(1,1),"circular"),x3), cpad=(lambda x:F.pad(x,(1,1)),x3), replpad3=(lambda x:F.pad(x,(1,)*6,"replicate"),x5), reflpad3=(lambda x:F.pad(x,(1,)*6,"reflect"),x5), reflpad2=(lambda x:F.pad(x,(1,)*4,"reflect"),x4), replpad1=(lambda x:F.pad(x,(1,)*2,"replicate"),x3),
 gridsample=(lambda x:F.grid_sample(x,torch.rand(2,4,4,2)),x4), gridsample3=(lambda x:F.grid_sample(x,torch.rand(2,4,4,4,3)),x5), affine=(lambda x:F.affine_grid(x[:2,:6].reshape(2,2,3),(2,1,4,4)),x2), unfold=(lambda x:F.unfold(x,2),x4), fold=(lambda x:F.fold(F.unfold(x,2),8,2),x4), tunfold=(lambda x:x.unfold(-1,2,1),x3), ps=(lambda x:F.pixel_shuffle(x[:,:4],2),x4), pus=(lambda x:F.pixel_unshuffle(x,2),x4), cs=(lambda x:F.channel_shuffle(x,2),x4), sdpa=(lambda x:F.scaled_dot_product_attention(x[:,None],x[:,None],x[:,None]),x3),
 mha=(lambda x,m=nn.MultiheadAttention(8,2):m(x,x,x)[0],x3), lstm=(lambda x,m=nn.LSTM(8,3):m(x)[0],x3), gru=(lambda x,m=nn.GRU(8,3):m(x)[0],x3), rnn=(lambda x,m=nn.RNN(8,3):m(x)[0],x3), tr=(lambda x,m=nn.TransformerEncoderLayer(8,2,16,dropout=0.):m(x),x3), prelu=(lambda x:F.prelu(x,W[0,:1]),x3), prelu6=(lambda x:F.prelu(x,W[0]),x3), alibi=(lambda x:F.alpha_dropout(x,.5),x2), wn=(lambda x:torch._weight_norm(x,x[:,:1]),x2), gumbel=(lambda x:F.gumbel_softmax(x),x2),rrelu=(lambda x:F.rrelu(x),x2),
 sum=(lambda x:x.sum(-1),x2), mean=(lambda x:x.mean(-1),x2), var=(lambda x:x.var(-1),x2), std=(lambda x:x.std(-1),x2), varmean=(lambda x:torch.var_mean(x,-1)[0],x2), norm=(lambda x:x.norm(dim=-1),x2), norm3=(lambda x:torch.linalg.vector_norm(x,3,-1),x2), matnorm=(lambda x:torch.linalg.matrix_norm(x),x2),nucnorm=(lambda x:torch.linalg.matrix_norm(x,"nuc"),x2), prod=(lambda x:x.prod(-1),x2), lse=(lambda x:x.logsumexp(-1),x2), max=(lambda x:x.max(-1)[0],x2), amax=(lambda x:x.amax(-1),x2), median=(lambda x:x.median(-1)[0],x2), mode=(lambda x:x.mode(-1)[0],x2), aminmax=(lambda x:x.aminmax(dim=-1)[0],x2), maxall=(lambda x:x.max(),x2), medall=(lambda x:x.median(),x2), prodall=(lambda x:x.prod(),x2), nansum=(lambda x:x.nansum(-1),x2), nanmean=(lambda x:x.nanmean(-1),x2), quantile=(lambda x:x.quantile(.3,-1),x2), cov=(lambda x:torch.cov(x),x2),corr=(lambda x:torch.corrcoef(x),x2),dist=(lambda x:torch.dist(x,x*2),x2),renorm=(lambda x:x.renorm(2,0,1.),x2),
 cumsum=(lambda x:x.cumsum(-1),x2), cumprod=(lambda x:x.cumprod(-1),x2), cummax=(lambda x:x.cummax(-1)[0],x2), lcse=(lambda x:x.logcumsumexp(-1),x2), sort=(lambda x:x.sort(-1)[0],x2), topk=(lambda x:x.topk(2)[0],x2), kth=(lambda x:x.kthvalue(2)[0],x2), msort=(lambda x:x.msort(),x2), diff=(lambda x:x.diff(),x2), trapz=(lambda x:torch.trapezoid(x),x2),ctrapz=(lambda x:torch.cumulative_trapezoid(x),x2),
 select=(lambda x:x[:,1],x2), slice=(lambda x:x[:,1:3],x2), slices=(lambda x:x[:,::2],x2), index=(lambda x:x[:,[0,1]],x2), index_select=(lambda x:x.index_select(1,torch.tensor([0,1])),x2), gather=(lambda x:x.gather(1,torch.zeros(4,1).long()),x2), take=(lambda x:x.take(torch.tensor([0,3])),x2), scatter=(lambda x:x.scatter(1,torch.zeros(4,1).long(),x[:,:1]),x2), scatter_add=(lambda x:x.scatter_add(1,torch.zeros(4,1).long(),x[:,:1]),x2), scatter_reduce=(lambda x:x.scatter_reduce(1,torch.zeros(4,1).long(),x[:,:1],"amax"),x2), index_add=(lambda x:x.index_add(1,torch.tensor([0]),x[:,:1]),x2), index_copy=(lambda x:x.index_copy(1,torch.tensor([0]),x[:,:1]),x2), index_fill=(lambda x:x.index_fill(1,torch.tensor([0]),2.),x2), index_put=(lambda x:x.index_put((torch.tensor([0]),),x[0]),x2), masked_fill=(lambda x:x.masked_fill(x>0,0.),x2), masked_select=(lambda x:x.masked_select(x>0),x2), masked_scatter=(lambda x:x.masked_scatter(x>0,x*2),x2), where=(lambda x:torch.where(x>0,x,x*2),x2), unbind=(lambda x:x.unbind(1)[0],x2), split=(lambda x:x.split(2,1)[1],x2), chunk=(lambda x:x.chunk(2,1)[1],x2), cat=(lambda x:torch.cat([x,x*2]),x2), stack=(lambda x:torch.stack([x,x*2]),x2), vstack=(lambda x:torch.vstack([x,x*2]),x2),dstack=(lambda x:torch.dstack([x,x*2]),x2),hstack=(lambda x:torch.hstack([x,x*2]),x2), roll=(lambda x:x.roll(1,1),x2), flip=(lambda x:x.flip(1),x2), rot=(lambda x:x.rot90(),x2), tril=(lambda x:x.tril(),x2), repeat=(lambda x:x.repeat(2,1),x2), tile=(lambda x:x.tile(2),x2), ri=(lambda x:x.repeat_interleave(2,1),x2), expand=(lambda x:x[:,:1].expand(4,3),x2), permute=(lambda x:x.permute(1,0),x2), view=(lambda x:x.view(2,2,6),x2), flatten=(lambda x:x.flatten(1),x4), unflatten=(lambda x:x.unflatten(1,(2,3)),x2), squeeze=(lambda x:x[:,:1].squeeze(1),x2), squeezeall=(lambda x:x[:,:1].squeeze(),x2), movedim=(lambda x:x.movedim(0,1),x2), diagonal=(lambda x:x.diagonal(),x2), diag=(lambda x:x.diag(),x2), diag_embed=(lambda x:torch.diag_embed(x),x2), trace=(lambda x:x[:,:4].trace(),x2), as_strided=(lambda x:x.as_strided((2,2),(1,2)),x2), clone=(lambda x:x.clone(),x2), to=(lambda x:x.double(),x2), pad=(lambda x:F.pad(x,(1,2)),x2), select_scatter=(lambda x:x.select_scatter(x[:,0],1,1),x2), slice_scatter=(lambda x:x.slice_scatter(x[:,:2],1,0,2),x2), diagonal_scatter=(lambda x:x.diagonal_scatter(x[:,0]),x2), bucketize=(lambda x:torch.bucketize(x,x[0].sort()[0]),x2), clampT=(lambda x:x.clamp(x-1,x+1),x2), lerp=(lambda x:torch.lerp(x,x*2,.3),x2), addcmul=(lambda x:torch.addcmul(x,x,x),x2), block_diag=(lambda x:torch.block_diag(x,x),x2),cartesian=(lambda x:torch.cartesian_prod(x[0],x[1]),x2),combinations=(lambda x:torch.combinations(x[0]),x2),vander=(lambda x:torch.vander(x[0]),x2),meshgrid=(lambda x:torch.meshgrid(x[0],x[1])[0],x2),triu=(lambda x:x.triu(),x2), tensor_split=(lambda x:x.tensor_split(2,1)[0],x2), unsqueeze=(lambda x:x[None],x2),histc=(lambda x:torch.histc(x),x2),
 rfft=(lambda x:torch.fft.rfft(x).abs(),x2), irfft=(lambda x:torch.fft.irfft(torch.fft.rfft(x)),x2), fft2=(lambda x:torch.fft.fft2(x).real,x2), stft=(lambda x:torch.stft(x,4,return_complex=True,window=torch.ones(4)).abs(),x2), complexx=(lambda x:torch.complex(x,x).abs(),x2), viewc=(lambda x:torch.view_as_complex(x.view(4,3,2)).angle(),x2), hfft=(lambda x:torch.fft.hfft(x),x2),
)
S=lambda x:(x@x.T+4*torch.eye(4))
for n in "inv cholesky det slogdet eigh eigvalsh svd svdvals qr pinv matrix_exp lu inv_ex cholesky_ex lu_factor eig eigvals matrix_rank cond ldl_factor matrix_power householder_product".split():
    f=getattr(torch.linalg,n)
    def g(x,f=f,n=n):
        r=f(S(x),2) if n=="matrix_power" else f(x.T,x[:,0]) if n=="householder_product" else f(S(x))
        r=r if isinstance(r,torch.Tensor) else r[-1] if n in("slogdet",) else r[0]
        return r.real.float() 
    G["l."+n]=(g,x2)
G["l.solve"]=(lambda x:torch.linalg.solve(S(x),x),x2)
G["l.solve_ex"]=(lambda x:torch.linalg.solve_ex(S(x),x)[0],x2)
G["l.lstsq"]=(lambda x:torch.linalg.lstsq(x.T,x.T*2)[0],x2)
G["l.solve_tri"]=(lambda x:torch.linalg.solve_triangular(S(x),x,upper=True),x2)
G["cholsolve"]=(lambda x:torch.cholesky_solve(x,torch.linalg.cholesky(S(x))),x2)
G["cholinv"]=(lambda x:torch.cholesky_inverse(torch.linalg.cholesky(S(x))),x2)
G["logdet"]=(lambda x:torch.logdet(S(x)),x2)
G["lu_solve"]=(lambda x:torch.linalg.lu_solve(*torch.linalg.lu_factor(S(x)),x),x2)
for t in ("nearest","bilinear","bicubic","area","nearest-exact"):
    G["up2"+t]=(lambda x,t=t:F.interpolate(x,scale_factor=2.,mode=t),x4)
for t in ("nearest","linear","nearest-exact"): G["up1"+t]=(lambda x,t=t:F.interpolate(x,scale_factor=2.,mode=t),x3)
for t in ("nearest","trilinear","nearest-exact"): G["up3"+t]=(lambda x,t=t:F.interpolate(x,scale_factor=2.,mode=t),x5)
for t in ("bilinear","bicubic"): G["upaa"+t]=(lambda x,t=t:F.interpolate(x,size=5,mode=t,antialias=True),x4)
torch.set_default_dtype(torch.float32)
CALLS=[(f,x) for f,x in G.values()]
def _square(f):
    def g(y):
        r=f(y)
        return r.abs().pow(2).sum() if r.is_floating_point() or r.is_complex() else y.sum()
    return g
DERIVATIVES=dict(grad=lambda f,x: torch.func.grad(_square(f))(x), jvp=lambda f,x: torch.func.jvp(f,(x,),(x*.5,)))
WHOLE=[]
